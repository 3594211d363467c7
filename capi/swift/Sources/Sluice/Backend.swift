import CSluice

/// The feed-forward layers of a model alone, for hosts that keep their own attention: whole layers
/// with `forward`, or the rows of the neurons that a token needs with `predict` and `withRows`.
///
/// As a `Session`: one call at a time, on any thread, and a second one throws `badState`; takes one
/// of the model's `maxSessions` and may outlive it.
public final class Backend: @unchecked Sendable {
  let handle: OpaquePointer
  let layers: [LayerInfo]
  let faults: ReaderFaults?

  init(model: FlashModel) throws {
    let count = try model.info().numLayers
    var created: OpaquePointer?
    try check(sluice_backend_create(model.handle, &created))
    let handle = try owned(created, "backend")
    do {
      layers = try (0..<count).map { layer in
        var c = sized(sluice_layer_info(), \.struct_size)
        try check(sluice_backend_layer_copy(handle, UInt32(layer), &c))
        return LayerInfo(c)
      }
    } catch {
      sluice_backend_close(handle)
      throw error
    }
    self.handle = handle
    faults = model.faults
  }

  deinit {
    sluice_backend_close(handle)
  }

  public var numLayers: Int { return layers.count }

  public func layer(_ layer: Int) throws -> LayerInfo {
    guard layers.indices.contains(layer) else {
      throw SluiceError(.invalidArgument, "layer \(layer) of a model of \(layers.count)")
    }
    return layers[layer]
  }

  /// y = down(activation(up(x))) with biases, over the neurons that the predictor names.
  ///
  /// Blocks on storage. One token at a time and layers in turn, the next layer is read ahead.
  /// - Parameter x: what the layer's FFN gets after its norm; dModel floats for each token, one
  ///   token after the other.
  /// - Returns: as many floats.
  public func forward(layer: Int, _ x: [Float]) throws -> [Float] {
    let width = try self.layer(layer).dModel
    guard x.count % width == 0 else {
      throw SluiceError(.invalidArgument, "\(x.count) floats are no whole tokens of \(width)")
    }
    var y = [Float](repeating: 0, count: x.count)
    try check(sluice_backend_forward(handle, UInt32(layer), x.count / width, x, &y), faults)
    return y
  }

  /// The neurons that one token needs, ascending; in dense mode all. `x` is that of `forward`.
  public func predict(layer: Int, _ x: [Float]) throws -> [UInt32] {
    let info = try checkToken(layer, x)
    var neurons = [UInt32](repeating: 0, count: info.dFFN)
    var count = 0
    try check(
      sluice_backend_predict(handle, UInt32(layer), x, &neurons, neurons.count, &count), faults)
    return Array(neurons.prefix(count))
  }

  /// Guesses which neurons `layer` will need, and starts reading those that are missing; returns
  /// without waiting. A wrong guess costs reads, never results.
  /// - Parameter x: the input of the layer before it.
  public func hint(layer: Int, _ x: [Float]) throws {
    _ = try checkToken(layer, x)
    try check(sluice_backend_hint(handle, UInt32(layer), x), faults)
  }

  /// Brings the rows of `neurons`, strictly ascending, into memory for the duration of `body`.
  ///
  /// This counts as one token for the layer's neuron window. At most `LayerInfo.numSlots` records
  /// at a time. `badState`: rows of this layer are there already. Blocks on storage, and while
  /// another session or backend of the model uses the layer: whoever holds rows of several layers
  /// asks in ascending order of layers.
  /// - Parameter more: these belong to the token of the call before on this layer.
  public func withRows<R>(
    layer: Int, neurons: [UInt32], more: Bool = false, _ body: (Rows) throws -> R
  ) throws -> R {
    let info = try self.layer(layer)
    guard let element = info.element else {
      throw SluiceError(.unsupported, "rows of an unknown element type")
    }
    var up = [UnsafeRawPointer?](repeating: nil, count: neurons.count)
    var down = up
    let status = sluice_backend_acquire(
      handle, UInt32(layer), neurons, neurons.count, more ? 1 : 0, &up, &down)
    try check(status, faults)
    defer { _ = sluice_backend_release(handle, UInt32(layer)) }
    return try body(Rows(up: up, down: down, element: element, width: info.dModel))
  }

  /// Makes the call that runs, or the next one, return soon. Any thread, at any time.
  public func cancel() {
    sluice_backend_cancel(handle)
  }

  /// Sums since the backend was made.
  public func stats() throws -> BackendStats {
    var c = sized(sluice_backend_stats(), \.struct_size)
    try check(sluice_backend_stats_copy(handle, &c))
    return BackendStats(c)
  }

  private func checkToken(_ layer: Int, _ x: [Float]) throws -> LayerInfo {
    let info = try self.layer(layer)
    guard x.count == info.dModel else {
      throw SluiceError(.invalidArgument, "\(x.count) floats are no token of \(info.dModel)")
    }
    return info
  }
}
