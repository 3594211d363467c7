import CSluice

/// Bundle files, which are what Sluice runs: making them, teaching them predictors, looking into
/// them, checking them. These calls block.
public enum BundleFile {
  /// Of the weights.
  public enum NumberType: Int32, Sendable {
    case asInCheckpoint = 0
    case f32 = 1
    case f16 = 2
    case bf16 = 3
  }

  /// How predictors are trained. Zero always means "default".
  public struct TrainOptions: Sendable {
    /// Of all layers' predictors; 0: what each needs.
    public var rank = 0
    /// With rank 0: of the model's parameters at most; 0: 0.075.
    public var parameterShare = 0.0
    /// 0: 1.
    public var seed: UInt64 = 0
    /// 0: by affinity mask and CPU quota.
    public var threads = 0

    public init(rank: Int = 0) {
      self.rank = rank
    }

    func c() throws -> sluice_train_options {
      var c = sluice_train_options()
      try check(sluice_train_options_init(&c, MemoryLayout<sluice_train_options>.stride))
      c.rank = try unsigned(rank, "rank")
      c.parameter_share = parameterShare
      c.seed = seed
      c.threads = try unsigned(threads, "threads")
      return c
    }
  }

  public struct ConvertOptions: Sendable {
    public var numberType: NumberType = .asInCheckpoint
    /// Text that predictors are trained on, too; nil: without predictors.
    public var calibrationPath: String?
    /// Of the device that the file is for; nil: a generic one.
    public var deviceCurvePath: String?
    /// Puts neurons that are active together side by side.
    public var placement = true
    /// The file in parts of at most so many bytes; 0: in one.
    public var partBytes = 0
    /// With `calibrationPath`.
    public var train = TrainOptions()

    public init(calibrationPath: String? = nil) {
      self.calibrationPath = calibrationPath
    }

    /// The C struct, for the duration of `body`.
    func withC<R>(_ body: (UnsafePointer<sluice_convert_options>) throws -> R) throws -> R {
      var c = sluice_convert_options()
      try check(sluice_convert_options_init(&c, MemoryLayout<sluice_convert_options>.stride))
      c.dtype = numberType.rawValue
      let calibration = try CStrings(calibrationPath, "calibrationPath")
      let curve = try CStrings(deviceCurvePath, "deviceCurvePath")
      c.calibration_path = calibration.first
      c.device_curve_path = curve.first
      c.no_placement = placement ? 0 : 1
      c.part_bytes = try unsigned(partBytes, "partBytes")
      return try withUnsafePointer(to: train.c()) { cTrain in
        c.train = cTrain
        return try withExtendedLifetime((calibration, curve)) { try body(&c) }
      }
    }
  }

  public struct ConvertReport: Equatable, Sendable {
    public let hasTokenizer: Bool
    public let records: Int
    /// Of one.
    public let recordBytes: Int
    /// Of the file, all parts together.
    public let bytes: Int
    public let seconds: Double
    /// Of the process.
    public let peakRSSBytes: Int
    /// 1: one file.
    public let numParts: Int
    /// That got predictors.
    public let numLayers: Int

    init(_ c: sluice_convert_report) {
      hasTokenizer = c.has_tokenizer != 0
      records = Int(clamping: c.records)
      recordBytes = Int(clamping: c.record_bytes)
      bytes = Int(clamping: c.bytes)
      seconds = c.seconds
      peakRSSBytes = Int(clamping: c.peak_rss_bytes)
      numParts = Int(c.num_parts)
      numLayers = Int(c.num_layers)
    }
  }

  /// Reads the Hugging Face folder `source` and writes the bundle file `output`, which appears
  /// complete or not at all.
  @discardableResult
  public static func convert(
    _ source: String, to output: String, options: ConvertOptions = ConvertOptions(),
    progress: ProgressHandler = { _, _ in }
  ) throws -> ConvertReport {
    var report = sized(sluice_convert_report(), \.struct_size)
    let paths = try CStrings([source, output], "a path")
    try withExtendedLifetime(paths) {
      try options.withC { cOptions in
        try withProgress(progress) { userData in
          sluice_convert(paths[0], paths[1], cOptions, &report, onStage, userData)
        }
      }
    }
    return ConvertReport(report)
  }

  /// Measured on calibration text that was held out of the training. Fractions of dFFN.
  public struct LayerQuality: Equatable, Sendable {
    public let layer: Int
    public let rank: Int
    /// Truly active neurons that were predicted.
    public let recall: Double
    /// Predicted neurons that were truly active.
    public let precision: Double
    public let activeFraction: Double
    public let predictedFraction: Double
    /// Of the guess made one layer early; 0 for the first layer.
    public let lookaheadRecall: Double
    public let lookaheadPrecision: Double

    init(_ c: sluice_layer_quality) {
      layer = Int(c.layer)
      rank = Int(c.rank)
      recall = c.recall
      precision = c.precision
      activeFraction = c.active_fraction
      predictedFraction = c.predicted_fraction
      lookaheadRecall = c.lookahead_recall
      lookaheadPrecision = c.lookahead_precision
    }
  }

  /// More layers than any model has.
  private static let maxLayers = 4096

  /// Trains the predictors of the bundle file `path` anew on the text at `calibration`; a new file
  /// replaces the old one when all is done.
  @discardableResult
  public static func train(
    _ path: String, calibration: String, options: TrainOptions = TrainOptions(),
    progress: ProgressHandler = { _, _ in }
  ) throws -> [LayerQuality] {
    var cOptions = try options.c()
    var layers = [sluice_layer_quality](repeating: sluice_layer_quality(), count: maxLayers)
    var count = 0
    let paths = try CStrings([path, calibration], "a path")
    try withExtendedLifetime(paths) {
      try withProgress(progress) { userData in
        sluice_train(
          paths[0], paths[1], &cOptions, &layers, maxLayers, &count, onStage, userData)
      }
    }
    return layers.prefix(count).map { LayerQuality($0) }
  }

  /// What is in a file, as one JSON object: the command line's `inspect --json`.
  public static func inspect(_ path: String) throws -> String {
    return try withPath(path) { cPath in
      try filledText(room: 64 << 10) { json, room, count in
        sluice_inspect(cPath, json, room, &count)
      }
    }
  }
}
