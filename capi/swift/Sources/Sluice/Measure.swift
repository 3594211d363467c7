import CSluice

/// How well a model does on a text.
public struct Evaluation: Equatable, Sendable {
  /// exp of the mean negative log-likelihood per token of text.
  public let perplexity: Double
  /// That were predicted.
  public let tokens: Int
  /// Of the predictors, as the rest: means over layers and tokens.
  public let recall: Double
  public let precision: Double
  public let activeFraction: Double
  public let predictedFraction: Double

  init(_ c: sluice_evaluation) {
    perplexity = c.perplexity
    tokens = Int(clamping: c.tokens)
    recall = c.recall
    precision = c.precision
    activeFraction = c.active_fraction
    predictedFraction = c.predicted_fraction
  }
}

extension FlashModel {
  /// Perplexity of text, and how well the predictors do on it. Takes one session of the model.
  /// Blocks.
  /// - Parameters:
  ///   - windowTokens: the text is cut into pieces of so many; 0: 256, or what the context holds.
  ///   - maxTokens: 0: all.
  public func evaluate(
    _ text: String, windowTokens: Int = 0, maxTokens: Int = 0,
    progress: ProgressHandler = { _, _ in }
  ) throws -> Evaluation {
    let window: UInt32 = try unsigned(windowTokens, "windowTokens")
    let most: UInt64 = try unsigned(maxTokens, "maxTokens")
    var c = sized(sluice_evaluation(), \.struct_size)
    try withProgress(progress, faults) { userData in
      withText(text) { bytes, count in
        sluice_evaluate(handle, bytes, count, window, most, &c, onStage, userData)
      }
    }
    return Evaluation(c)
  }
}

/// What reads cost on a device.
public enum DeviceCurve {
  public struct Point: Equatable, Sendable {
    public let readBytes: Int
    public let queueDepth: Int
    /// 1e9 bytes.
    public let gbPerSecond: Double
    /// Elapsed time over reads.
    public let microsecondsPerRead: Double

    init(_ c: sluice_device_point) {
      readBytes = Int(clamping: c.read_bytes)
      queueDepth = Int(c.queue_depth)
      gbPerSecond = c.gb_per_s
      microsecondsPerRead = c.us_per_read
    }
  }

  /// More points than are ever measured.
  private static let maxPoints = 4096

  /// Measures the storage that `path`, a file or folder, lies on. Blocks. `badState`: it refuses
  /// O_DIRECT, or is memory.
  /// - Parameters:
  ///   - seconds: for all points together; 0: 4.
  ///   - output: where the curve is saved, for `ModelOptions.deviceCurvePath`.
  public static func measure(
    _ path: String, seconds: Double = 0, saveTo output: String? = nil,
    progress: ProgressHandler = { _, _ in }
  ) throws -> [Point] {
    var points = [sluice_device_point](repeating: sluice_device_point(), count: maxPoints)
    var count = 0
    let cOutput = try CStrings(output, "a path")
    try withPath(path) { cPath in
      try withExtendedLifetime(cOutput) {
        try withProgress(progress) { userData in
          sluice_device_measure(
            cPath, seconds, cOutput.first, &points, maxPoints, &count, onStage, userData)
        }
      }
    }
    return points.prefix(count).map { Point($0) }
  }
}
