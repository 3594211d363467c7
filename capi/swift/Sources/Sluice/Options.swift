import CSluice
import Foundation

/// How a model is opened. Zero always means "default".
public struct ModelOptions: Sendable {
  public enum Mode: Int32, Sendable {
    /// Sparse where the file has predictors.
    case automatic = 0
    case sparse = 1
    /// Every neuron is computed: exact.
    case dense = 2
  }

  public enum Engine: Int32, Sendable {
    case automatic = 0
    case uring = 1
    case pread = 2
  }

  /// Attention weights and embeddings.
  public enum ResidentType: Int32, Sendable {
    case asInFile = 0
    /// Rounded to 8 bits at open: half of f16's memory; results differ.
    case q8 = 1
  }

  /// Keys and values of past tokens.
  public enum KVType: Int32, Sendable {
    case f32 = 0
    case f16 = 1
  }

  /// Everything in DRAM, in bytes; 0: what is free, less a margin.
  public var dramBudgetBytes: UInt64 = 0
  /// Tokens that a session holds; 0: the model's limit, at most 2048.
  public var contextTokens: UInt32 = 0
  /// Sessions and backends at one time; 0: 1.
  public var maxSessions: UInt32 = 0
  /// Neuron window; 0: as many as the slots hold.
  public var windowTokens: UInt32 = 0
  public var mode: Mode = .automatic
  public var engine: Engine = .automatic
  /// Of compute; 0: by affinity mask and CPU quota.
  public var threads: UInt32 = 0
  public var queueDepth: UInt32 = 0
  public var prefillChunkTokens: UInt32 = 0
  public var residentType: ResidentType = .asInFile
  public var kvType: KVType = .f32
  /// Only what `Backend` needs is kept in DRAM.
  public var ffnOnly = false
  /// What reads cost here, as `sluice device` saved it.
  public var deviceCurvePath: String?

  public init() {}

  public init(dramBudgetBytes: UInt64, contextTokens: UInt32 = 0) {
    self.dramBudgetBytes = dramBudgetBytes
    self.contextTokens = contextTokens
  }

  /// The C struct, for the duration of `body`.
  func withC<R>(_ body: (UnsafePointer<sluice_model_options>) throws -> R) throws
    -> R
  {
    var c = sluice_model_options()
    try check(sluice_model_options_init(&c, MemoryLayout<sluice_model_options>.stride))
    c.context_tokens = contextTokens
    c.dram_budget_bytes = dramBudgetBytes
    c.max_sessions = maxSessions
    c.window_tokens = windowTokens
    c.mode = mode.rawValue
    c.engine = engine.rawValue
    c.threads = threads
    c.queue_depth = queueDepth
    c.prefill_chunk_tokens = prefillChunkTokens
    c.resident_type = residentType.rawValue
    c.kv_type = kvType.rawValue
    c.ffn_only = ffnOnly ? 1 : 0
    let curve = CStrings(deviceCurvePath.map { [$0] } ?? [])
    c.device_curve_path = curve.first
    defer { withExtendedLifetime(curve) {} }
    return try withUnsafePointer(to: c) { try body($0) }
  }
}

/// How text is generated. Zero always means "default".
public struct GenerateOptions: Sendable {
  /// 0: 128.
  public var maxTokens: UInt32 = 0
  /// 0: always the most likely token.
  public var temperature: Float = 0
  public var topK: UInt32 = 0
  public var topP: Float = 0
  public var minP: Float = 0
  /// 0 or 1: off.
  public var repetitionPenalty: Float = 0
  public var seed: UInt64 = 0
  /// The text before the first of these is kept.
  public var stop: [String] = []
  /// Goes on past end-of-sequence ids.
  public var ignoreEOS = false
  /// With the tokenizer's special tokens around the prompt.
  public var specialTokens = true
  /// The prompt is all there is, from position 0; what it shares with the tokens that the session
  /// holds is not computed again.
  public var wholePrompt = false

  public init() {}

  public init(maxTokens: UInt32, temperature: Float = 0) {
    self.maxTokens = maxTokens
    self.temperature = temperature
  }

  func withC<R>(_ body: (UnsafePointer<sluice_generate_options>) throws -> R) throws
    -> R
  {
    var c = sluice_generate_options()
    try check(sluice_generate_options_init(&c, MemoryLayout<sluice_generate_options>.stride))
    c.max_tokens = maxTokens
    c.temperature = temperature
    c.top_p = topP
    c.min_p = minP
    c.repetition_penalty = repetitionPenalty
    c.top_k = topK
    c.ignore_eos = ignoreEOS ? 1 : 0
    c.seed = seed
    c.no_special_tokens = specialTokens ? 0 : 1
    c.whole_prompt = wholePrompt ? 1 : 0
    let strings = CStrings(stop)
    c.stop = strings.array
    c.stop_count = stop.count
    defer { withExtendedLifetime(strings) {} }
    return try withUnsafePointer(to: c) { try body($0) }
  }
}

/// Strings for C, as long as this lives.
final class CStrings {
  private let count: Int
  private let pointers: UnsafeMutablePointer<UnsafePointer<CChar>?>

  init(_ strings: [String]) {
    count = strings.count
    pointers = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: count + 1)
    for index in 0..<count {
      let copy: UnsafeMutablePointer<CChar>? = strdup(strings[index])
      (pointers + index).initialize(to: UnsafePointer<CChar>(copy))
    }
    (pointers + count).initialize(to: nil)
  }

  deinit {
    for index in 0..<count {
      free(UnsafeMutablePointer<CChar>(mutating: pointers[index]))
    }
    pointers.deinitialize(count: count + 1)
    pointers.deallocate()
  }

  /// nil when there are none.
  var array: UnsafePointer<UnsafePointer<CChar>?>? {
    return count == 0 ? nil : UnsafePointer<UnsafePointer<CChar>?>(pointers)
  }

  var first: UnsafePointer<CChar>? { return pointers[0] }
}
