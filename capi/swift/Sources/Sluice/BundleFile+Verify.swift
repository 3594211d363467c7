import CSluice

extension BundleFile {
  /// Checks every checksum; reads the whole file. Throws `corrupt` when it is damaged: the message
  /// names the first place.
  /// - Parameter onDamage: gets each damaged place, when the check is over: section, layer,
  ///   neurons, expected and found.
  /// - Returns: how many records were checked.
  @discardableResult
  public static func verify(
    _ path: String, progress: ProgressHandler = { _, _ in },
    onDamage: (_ place: String) throws -> Void = { _ in }
  ) throws -> Int {
    var records: UInt64 = 0
    try withPath(path) { cPath in
      try withoutActuallyEscaping(onDamage) { onDamage in
        try withoutActuallyEscaping(progress) { progress in
          let callback = VerifyCallback(onDamage, progress)
          try withExtendedLifetime(callback) {
            try callback.check(
              sluice_verify(cPath, &records, onDamagedPlace, onVerifyStage, callback.userData))
          }
        }
      }
    }
    return Int(clamping: records)
  }
}

/// Both closures: they share a user_data.
private final class VerifyCallback: Callback {
  let onDamage: (String) throws -> Void
  let progress: ProgressHandler

  init(_ onDamage: @escaping (String) throws -> Void, _ progress: @escaping ProgressHandler) {
    self.onDamage = onDamage
    self.progress = progress
  }
}

/// A sluice_damage_fn.
private func onDamagedPlace(
  _ place: UnsafePointer<CChar>?, _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let callback = VerifyCallback.from(userData) else { return 1 }
  return callback.run { try callback.onDamage(place.map { String(cString: $0) } ?? "") }
}

/// A sluice_stage_fn.
private func onVerifyStage(
  _ stage: UnsafePointer<CChar>?, _ done: Double, _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let callback = VerifyCallback.from(userData) else { return 1 }
  return callback.run { try callback.progress(stage.map { String(cString: $0) } ?? "", done) }
}
