import CSluice

/// The feed-forward layers of a model alone, for hosts that keep their own attention.
///
/// As a `Session`: one call at a time, on any thread; takes one of the model's `maxSessions`.
public final class Backend: @unchecked Sendable {
  private let handle: OpaquePointer
  private let dModel: Int

  public init(model: FlashModel) throws {
    let width = try model.info().dModel
    var created: OpaquePointer?
    try check(sluice_backend_create(model.handle, &created))
    guard let handle = created else {
      throw SluiceError(status: sluice_status(SLUICE_INTERNAL), message: "no backend was made")
    }
    self.handle = handle
    self.dModel = Int(width)
  }

  deinit {
    sluice_backend_close(handle)
  }

  /// y = down(activation(up(x))) with biases.
  ///
  /// - Parameter x: what the layer's FFN gets after its norm; dModel floats for each token, one
  ///   token after the other.
  /// - Returns: as many floats.
  public func forward(layer: UInt32, _ x: [Float]) throws -> [Float] {
    guard dModel > 0, x.count % dModel == 0 else {
      throw SluiceError(
        status: sluice_status(SLUICE_INVALID_ARGUMENT),
        message: "\(x.count) floats are no whole tokens of \(dModel)")
    }
    var y = [Float](repeating: 0, count: x.count)
    try check(sluice_backend_forward(handle, layer, x.count / dModel, x, &y))
    return y
  }
}
