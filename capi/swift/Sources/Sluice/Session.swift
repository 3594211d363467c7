import CSluice

/// One conversation with a model: a position, its KV cache, and the generation loop.
///
/// One call at a time: a second one throws `badState` and disturbs nothing. The library checks that
/// itself, on any thread, which is why this is a `Sendable` class and not an actor: an actor's
/// `cancel()` would wait behind the very call that it is to stop, and its blocking calls would hold
/// a thread of the cooperative pool all the same.
///
/// The model may go first. A generation that runs keeps the session until it is over.
public final class Session: @unchecked Sendable {
  let handle: SessionHandle

  init(model: FlashModel) throws {
    let vocabSize = try model.info().vocabSize
    var created: OpaquePointer?
    try check(sluice_session_create(model.handle, &created))
    handle = SessionHandle(
      try owned(created, "session"), vocabSize: vocabSize, faults: model.faults)
  }

  private init(_ handle: SessionHandle) {
    self.handle = handle
  }

  /// Tokens in the KV cache, as of the last call that has returned. At any time.
  public var position: Int {
    return Int(sluice_session_position(handle.raw))
  }

  /// The tokens at positions 0 to `position`.
  public func tokens() throws -> [Int32] {
    let raw = try handle.free()
    var tokens = [Int32](repeating: 0, count: position)
    var count = 0
    try check(sluice_session_tokens_copy(raw, &tokens, tokens.count, &count))
    return Array(tokens.prefix(count))
  }

  /// Makes the call that runs return soon: within 100 ms on top of a read that the device has
  /// started. Where none runs, the next one. Any thread, at any time.
  public func cancel() {
    handle.cancel()
  }

  // MARK: Feeding tokens

  /// Feeds tokens; the logits of the last one. Blocks on storage. After a failure the position is
  /// unchanged.
  /// - Parameter progress: is told after each layer of each chunk how many tokens are done, and of
  ///   how many. What it throws stops the call and comes out of it.
  @discardableResult
  public func prefill(
    _ tokens: [Int32], progress: (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
  ) throws -> [Float] {
    var logits = [Float](repeating: 0, count: handle.vocabSize)
    try prefill(tokens, &logits, progress)
    return logits
  }

  /// The same without logits, which are not computed then.
  public func feed(
    _ tokens: [Int32], progress: (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
  ) throws {
    try prefill(tokens, nil, progress)
  }

  private func prefill(
    _ tokens: [Int32], _ logits: UnsafeMutablePointer<Float>?, _ progress: (Int, Int) throws -> Void
  ) throws {
    let raw = try handle.free()
    try withoutActuallyEscaping(progress) { progress in
      let callback = PrefillCallback(progress)
      try withExtendedLifetime(callback) {
        try callback.check(
          sluice_session_prefill(
            raw, tokens, tokens.count, logits, onPrefill, callback.userData),
          handle.faults)
      }
    }
  }

  /// Feeds one token; its logits. The statistics count it as decoded. Blocks on storage.
  @discardableResult
  public func decode(_ token: Int32) throws -> [Float] {
    var logits = [Float](repeating: 0, count: handle.vocabSize)
    try decode(token, into: &logits)
    return logits
  }

  /// The same into an array that is there already, of the model's `vocabSize`.
  public func decode(_ token: Int32, into logits: inout [Float]) throws {
    guard logits.count == handle.vocabSize else {
      throw SluiceError(
        .invalidArgument, "\(logits.count) logits, the vocabulary has \(handle.vocabSize)")
    }
    try check(sluice_session_decode(handle.free(), token, &logits), handle.faults)
  }

  // MARK: Going back, keeping

  /// Back to position 0.
  public func reset() throws {
    try check(sluice_session_reset(handle.free()))
  }

  /// Back to an earlier position: forgets what came after it.
  public func rewind(to position: Int) throws {
    try check(sluice_session_rewind(handle.free(), unsigned(position, "position")))
  }

  /// A second session of the same model with the same tokens and KV cache. Its statistics begin
  /// anew. `badState`: all `maxSessions` are taken.
  public func clone() throws -> Session {
    var clone: OpaquePointer?
    try check(sluice_session_clone(handle.free(), &clone))
    return Session(
      SessionHandle(
        try owned(clone, "clone"), vocabSize: handle.vocabSize, faults: handle.faults))
  }

  /// Writes tokens and KV cache to a file, which appears complete or not at all.
  public func save(to path: String) throws {
    let raw = try handle.free()
    try withPath(path) { try check(sluice_session_save(raw, $0)) }
  }

  /// Takes the place of what the session holds, which stays as it is after a failure. The file must
  /// be of this model and of options like these.
  public func load(from path: String) throws {
    let raw = try handle.free()
    try withPath(path) { try check(sluice_session_load(raw, $0)) }
  }

  // MARK: Statistics

  /// In `GenerateOptions.onLogits`, and in `onToken` of the blocking `generate`: what there is so
  /// far.
  public func stats() throws -> Stats {
    var c = sized(sluice_stats(), \.struct_size)
    try check(sluice_session_stats_copy(handle.raw, &c))
    return Stats(c)
  }

  public func resetStats() throws {
    try check(sluice_session_stats_reset(handle.free()))
  }
}

private final class PrefillCallback: Callback {
  let progress: (Int, Int) throws -> Void

  init(_ progress: @escaping (Int, Int) throws -> Void) {
    self.progress = progress
  }
}

/// A sluice_progress_fn.
private func onPrefill(
  _ done: UInt32, _ total: UInt32, _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let callback = PrefillCallback.from(userData) else { return 1 }
  return callback.run { try callback.progress(Int(done), Int(total)) }
}
