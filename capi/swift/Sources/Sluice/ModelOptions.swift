import CSluice

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
    /// Half of f32's memory; results differ.
    case f16 = 1
  }

  /// Single techniques that can be switched off, for measurements. No result depends on them.
  public struct Techniques: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let window = Techniques(rawValue: 1)
    public static let bundles = Techniques(rawValue: 2)
    public static let join = Techniques(rawValue: 4)
    public static let overlap = Techniques(rawValue: 8)
    public static let lookahead = Techniques(rawValue: 16)
    public static let resident = Techniques(rawValue: 32)
  }

  /// Everything in DRAM, in bytes; 0: what is free, less a margin.
  public var dramBudgetBytes = 0
  /// Tokens that a session holds; 0: the model's limit, at most 2048.
  public var contextTokens = 0
  /// Sessions and backends at one time; 0: 1.
  public var maxSessions = 0
  /// Neuron window; 0: as many as the slots hold.
  public var windowTokens = 0
  public var mode: Mode = .automatic
  public var engine: Engine = .automatic
  /// Of compute; 0: by affinity mask and CPU quota.
  public var threads = 0
  /// Reads in flight, at most 4096; 0: 128.
  public var queueDepth = 0
  /// 0: 32.
  public var prefillChunkTokens = 0
  public var residentType: ResidentType = .asInFile
  public var kvType: KVType = .f32
  /// Only what `Backend` needs is kept in DRAM.
  public var ffnOnly = false
  /// Without the checksums of what is read.
  public var skipVerify = false
  public var disabled: Techniques = []
  /// What reads cost here, as `DeviceCurve.measure` or `sluice device` saved it.
  public var deviceCurvePath: String?

  public init(dramBudgetBytes: Int = 0, contextTokens: Int = 0, maxSessions: Int = 0) {
    self.dramBudgetBytes = dramBudgetBytes
    self.contextTokens = contextTokens
    self.maxSessions = maxSessions
  }

  /// The C struct, for the duration of `body`.
  func withC<R>(_ body: (UnsafePointer<sluice_model_options>) throws -> R) throws -> R {
    var c = sluice_model_options()
    try check(sluice_model_options_init(&c, MemoryLayout<sluice_model_options>.stride))
    c.context_tokens = try unsigned(contextTokens, "contextTokens")
    c.dram_budget_bytes = try unsigned(dramBudgetBytes, "dramBudgetBytes")
    c.max_sessions = try unsigned(maxSessions, "maxSessions")
    c.window_tokens = try unsigned(windowTokens, "windowTokens")
    c.mode = mode.rawValue
    c.engine = engine.rawValue
    c.threads = try unsigned(threads, "threads")
    c.queue_depth = try unsigned(queueDepth, "queueDepth")
    c.prefill_chunk_tokens = try unsigned(prefillChunkTokens, "prefillChunkTokens")
    c.resident_type = residentType.rawValue
    c.kv_type = kvType.rawValue
    c.ffn_only = ffnOnly ? 1 : 0
    c.skip_verify = skipVerify ? 1 : 0
    c.disabled = disabled.rawValue
    let curve = try CStrings(deviceCurvePath, "deviceCurvePath")
    c.device_curve_path = curve.first
    return try withExtendedLifetime(curve) { try body(&c) }
  }
}
