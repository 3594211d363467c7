import CSluice

/// What a model takes; see `FlashModel.plan(path:options:)`.
public struct MemoryPlan: Equatable, Sendable {
  /// The budget is at or above the floor.
  public let fits: Bool
  /// The least budget that these options can be opened with.
  public let floorBytes: Int
  /// Holds what a window of 5 tokens needs.
  public let recommendedBytes: Int
  /// The one planned for, and what it buys:
  public let budgetBytes: Int
  /// weights that stay in DRAM,
  public let residentBytes: Int
  public let predictorBytes: Int
  /// KV caches of all sessions,
  public let kvBytes: Int
  /// neuron slots,
  public let slotBytes: Int
  /// activations and bookkeeping,
  public let scratchBytes: Int
  /// rings and their buffers.
  public let ioBytes: Int
  public let contextTokens: Int
  public let maxSessions: Int
  /// What `automatic` comes to.
  public let mode: ModelOptions.Mode

  init(_ c: sluice_memory_plan) {
    fits = c.fits != 0
    floorBytes = Int(clamping: c.floor_bytes)
    recommendedBytes = Int(clamping: c.recommended_bytes)
    budgetBytes = Int(clamping: c.budget_bytes)
    residentBytes = Int(clamping: c.resident_bytes)
    predictorBytes = Int(clamping: c.predictor_bytes)
    kvBytes = Int(clamping: c.kv_bytes)
    slotBytes = Int(clamping: c.slot_bytes)
    scratchBytes = Int(clamping: c.scratch_bytes)
    ioBytes = Int(clamping: c.io_bytes)
    contextTokens = Int(c.context_tokens)
    maxSessions = Int(c.max_sessions)
    mode = ModelOptions.Mode(rawValue: c.mode) ?? .automatic
  }
}

/// What a model is.
public struct ModelInfo: Equatable, Sendable {
  /// "opt", for example.
  public let family: String
  public let numLayers: Int
  public let dModel: Int
  public let dFFN: Int
  public let numHeads: Int
  /// Token ids are below this; logits are as many.
  public let vocabSize: Int
  public let maxPositions: Int
  public let hasTokenizer: Bool
  public let hasPredictors: Bool
  /// Of the bundle file, all parts together.
  public let fileBytes: Int
  /// End-of-sequence ids, at most the first 7.
  public let eosIDs: [Int32]

  init(_ c: sluice_model_info) {
    family = text(ofTuple: c.family)
    numLayers = Int(c.num_layers)
    dModel = Int(c.d_model)
    dFFN = Int(c.d_ffn)
    numHeads = Int(c.num_heads)
    vocabSize = Int(c.vocab_size)
    maxPositions = Int(c.max_positions)
    hasTokenizer = c.has_tokenizer != 0
    hasPredictors = c.has_predictors != 0
    fileBytes = Int(clamping: c.file_bytes)
    eosIDs = withUnsafeBytes(of: c.eos_ids) {
      Array($0.bindMemory(to: Int32.self).prefix(Int(c.eos_count)))
    }
  }
}
