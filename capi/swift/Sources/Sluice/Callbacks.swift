import CSluice

/// Is told what is being done ("read", "convert", ...) and the share of it that is done, 0 to 1, on
/// the thread of the call. What it throws stops the call and comes out of it.
public typealias ProgressHandler = (_ stage: String, _ done: Double) throws -> Void

/// Closures of the host's while C calls them. Keeps the first error and stops for it.
class Callback {
  private var error: (any Error)?

  var userData: UnsafeMutableRawPointer { return Unmanaged.passUnretained(self).toOpaque() }

  /// Nonzero stops, as C wants it.
  func run(_ body: () throws -> Void) -> Int32 {
    if error != nil { return 1 }
    do {
      try body()
      return 0
    } catch {
      self.error = error
      return 1
    }
  }

  /// After the call: throws what the host threw, or else what the status means.
  func check(_ status: sluice_status, _ faults: ReaderFaults? = nil) throws {
    if let error = error { throw error }
    try Sluice.check(status, faults)
  }

  /// The callback behind a user_data.
  static func from(_ userData: UnsafeMutableRawPointer?) -> Self? {
    return userData.map { Unmanaged<Self>.fromOpaque($0).takeUnretainedValue() }
  }
}

/// For a sluice_stage_fn.
final class StageCallback: Callback {
  fileprivate let progress: ProgressHandler

  init(_ progress: @escaping ProgressHandler) {
    self.progress = progress
  }
}

func onStage(
  _ stage: UnsafePointer<CChar>?, _ done: Double, _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let callback = StageCallback.from(userData) else { return 1 }
  return callback.run { try callback.progress(stage.map { String(cString: $0) } ?? "", done) }
}

/// Makes a C call that tells of its progress; `faults` as in check().
func withProgress(
  _ progress: ProgressHandler, _ faults: ReaderFaults? = nil,
  _ call: (_ userData: UnsafeMutableRawPointer) throws -> sluice_status
) throws {
  try withoutActuallyEscaping(progress) { progress in
    let callback = StageCallback(progress)
    try withExtendedLifetime(callback) {
      try callback.check(try call(callback.userData), faults)
    }
  }
}
