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
  private let vocabSize: Int

  init(model: FlashModel) throws {
    vocabSize = Int(try model.info().vocabSize)
    var created: OpaquePointer?
    try check(sluice_session_create(model.handle, &created))
    handle = try Session.own(created)
  }

  private init(handle: SessionHandle, vocabSize: Int) {
    self.handle = handle
    self.vocabSize = vocabSize
  }

  private static func own(_ raw: OpaquePointer?) throws -> SessionHandle {
    guard let raw = raw else {
      throw SluiceError(status: sluice_status(SLUICE_INTERNAL), message: "no session was made")
    }
    return SessionHandle(raw)
  }

  /// Tokens in the KV cache, as of the last call that has returned.
  public var position: Int {
    return Int(sluice_session_position(handle.raw))
  }

  /// The tokens at positions 0 to `position`.
  public func tokens() throws -> [Int32] {
    var tokens = [Int32](repeating: 0, count: position + 1)
    var count = 0
    let capacity = tokens.count
    try check(sluice_session_tokens_copy(handle.raw, &tokens, capacity, &count))
    return Array(tokens.prefix(count))
  }

  // MARK: Generating

  /// Goes on from the position with `prompt`. Generating begins at once, on a thread of the
  /// library's, and does not wait for the reader of the stream. It stops before the next token when
  /// the stream is dropped or the task that reads it is cancelled; `idle()` waits until it has.
  public func generate(_ prompt: String, options: GenerateOptions = GenerateOptions())
    -> AsyncThrowingStream<Token, Error>
  {
    let session = handle
    return AsyncThrowingStream(Token.self) { continuation in
      let generation = Generation(session, continuation)
      continuation.onTermination = { termination in
        if case .cancelled = termination { generation.stop() }
      }
      do {
        try generation.start(prompt, options)
      } catch {
        continuation.finish(throwing: error)
      }
    }
  }

  /// The text of a whole generation.
  public func text(_ prompt: String, options: GenerateOptions = GenerateOptions()) async throws
    -> String
  {
    var whole = ""
    for try await token in generate(prompt, options: options) {
      whole += token.text
    }
    return whole
  }

  /// How the last generation ended; nil when there was none, or it failed.
  public var finishReason: FinishReason? { return handle.finishReason }

  /// Waits until no generation runs.
  public func idle() async {
    let session = handle
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      session.resumeWhenIdle(continuation)
    }
  }

  /// Makes the call that runs, or the next one, return soon. Any thread, at any time.
  public func cancel() {
    sluice_session_cancel(handle.raw)
  }

  // MARK: Feeding tokens

  /// Feeds tokens; the logits of the last one. Blocks on storage.
  @discardableResult
  public func prefill(_ tokens: [Int32]) throws -> [Float] {
    var logits = [Float](repeating: 0, count: vocabSize)
    try check(sluice_session_prefill(handle.raw, tokens, tokens.count, &logits, nil, nil))
    return logits
  }

  /// Feeds one token; its logits.
  @discardableResult
  public func decode(_ token: Int32) throws -> [Float] {
    var logits = [Float](repeating: 0, count: vocabSize)
    try check(sluice_session_decode(handle.raw, token, &logits))
    return logits
  }

  // MARK: Going back, keeping

  public func reset() throws {
    try check(sluice_session_reset(handle.raw))
  }

  /// Back to an earlier position: forgets what came after it.
  public func rewind(to position: Int) throws {
    guard let target = UInt32(exactly: position) else {
      throw SluiceError(
        status: sluice_status(SLUICE_INVALID_ARGUMENT), message: "\(position) is no position")
    }
    try check(sluice_session_rewind(handle.raw, target))
  }

  /// A second session of the same model with the same tokens and KV cache.
  public func clone() throws -> Session {
    var clone: OpaquePointer?
    try check(sluice_session_clone(handle.raw, &clone))
    return Session(handle: try Session.own(clone), vocabSize: vocabSize)
  }

  /// Writes tokens and KV cache to a file, which appears complete or not at all.
  public func save(to path: String) throws {
    try check(sluice_session_save(handle.raw, path))
  }

  /// Takes the place of what the session holds, which stays as it is after a failure.
  public func load(from path: String) throws {
    try check(sluice_session_load(handle.raw, path))
  }

  // MARK: Statistics

  public func stats() throws -> Stats {
    var c = sluice_stats()
    c.struct_size = UInt32(MemoryLayout<sluice_stats>.stride)
    try check(sluice_session_stats_copy(handle.raw, &c))
    return Stats(c)
  }

  public func resetStats() throws {
    try check(sluice_session_stats_reset(handle.raw))
  }
}
