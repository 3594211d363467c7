import CSluice

/// What a model takes; see `FlashModel.plan(path:options:)`.
public struct MemoryPlan: Sendable {
  /// The budget is at or above the floor.
  public let fits: Bool
  /// The least budget that these options can be opened with.
  public let floorBytes: UInt64
  public let recommendedBytes: UInt64
  /// The one planned for, and what it buys.
  public let budgetBytes: UInt64
  public let residentBytes: UInt64
  public let predictorBytes: UInt64
  public let kvBytes: UInt64
  public let slotBytes: UInt64
  public let scratchBytes: UInt64
  public let ioBytes: UInt64
  public let contextTokens: UInt32
  public let maxSessions: UInt32

  init(_ c: sluice_memory_plan) {
    fits = c.fits != 0
    floorBytes = c.floor_bytes
    recommendedBytes = c.recommended_bytes
    budgetBytes = c.budget_bytes
    residentBytes = c.resident_bytes
    predictorBytes = c.predictor_bytes
    kvBytes = c.kv_bytes
    slotBytes = c.slot_bytes
    scratchBytes = c.scratch_bytes
    ioBytes = c.io_bytes
    contextTokens = c.context_tokens
    maxSessions = c.max_sessions
  }
}

/// What a model is.
public struct ModelInfo: Sendable {
  public let family: String
  public let numLayers: UInt32
  public let dModel: UInt32
  public let dFFN: UInt32
  public let numHeads: UInt32
  public let vocabSize: UInt32
  public let maxPositions: UInt32
  public let hasTokenizer: Bool
  public let hasPredictors: Bool
  public let fileBytes: UInt64

  init(_ c: sluice_model_info) {
    family = text(ofTuple: c.family)
    numLayers = c.num_layers
    dModel = c.d_model
    dFFN = c.d_ffn
    numHeads = c.num_heads
    vocabSize = c.vocab_size
    maxPositions = c.max_positions
    hasTokenizer = c.has_tokenizer != 0
    hasPredictors = c.has_predictors != 0
    fileBytes = c.file_bytes
  }
}

/// Means over the tokens decoded since the session was made or its statistics were reset.
public struct Stats: Sendable {
  /// Decoded.
  public let tokens: UInt64
  /// The sum of the next three.
  public let totalMsPerToken: Double
  public let ioMsPerToken: Double
  public let memoryMsPerToken: Double
  public let computeMsPerToken: Double
  /// From storage.
  public let bytesPerToken: Double
  public let readsPerToken: Double
  /// Needed records that were in DRAM, 0 to 1.
  public let hitRate: Double
  public let activeFraction: Double
  public let predictedFraction: Double
  public let windowTokens: Double
  public let prefillTokens: UInt64
  /// Of prompts: they were in the KV cache already.
  public let reusedTokens: UInt64
  public let prefillMs: Double
  /// Of the process.
  public let peakRSSBytes: UInt64
  public let engine: String
  public let engineReason: String
  /// Reads bypass the page cache.
  public let directIO: Bool

  init(_ c: sluice_stats) {
    tokens = c.tokens
    totalMsPerToken = c.total_ms_per_token
    ioMsPerToken = c.io_ms_per_token
    memoryMsPerToken = c.memory_ms_per_token
    computeMsPerToken = c.compute_ms_per_token
    bytesPerToken = c.bytes_per_token
    readsPerToken = c.reads_per_token
    hitRate = c.hit_rate
    activeFraction = c.active_fraction
    predictedFraction = c.predicted_fraction
    windowTokens = c.window_tokens
    prefillTokens = c.prefill_tokens
    reusedTokens = c.reused_tokens
    prefillMs = c.prefill_ms
    peakRSSBytes = c.peak_rss_bytes
    engine = text(ofTuple: c.engine)
    engineReason = text(ofTuple: c.engine_reason)
    directIO = c.direct_io != 0
  }
}
