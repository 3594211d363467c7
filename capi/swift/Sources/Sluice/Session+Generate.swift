extension Session {
  /// Goes on from the position with `prompt`, and generates on a thread of its own.
  ///
  /// It begins at once and does not wait for the reader: tokens that are not taken yet are kept.
  /// Leaving the loop, dropping the stream or cancelling the task stops it; the session's next call
  /// waits until it has, at most about 100 ms. `finishReason` says how it ended.
  public func generate(_ prompt: String, options: GenerateOptions = GenerateOptions())
    -> AsyncThrowingStream<Token, any Error>
  {
    return stream(.text(prompt), options)
  }

  /// The same from token ids; without a tokenizer the texts are empty.
  public func generate(tokens: [Int32], options: GenerateOptions = GenerateOptions())
    -> AsyncThrowingStream<Token, any Error>
  {
    return stream(.tokens(tokens), options)
  }

  /// The text of a whole generation. Throws a `CancellationError` when its task is cancelled.
  public func text(_ prompt: String, options: GenerateOptions = GenerateOptions()) async throws
    -> String
  {
    return try await Session.collect(generate(prompt, options: options))
  }

  public func text(tokens: [Int32], options: GenerateOptions = GenerateOptions()) async throws
    -> String
  {
    return try await Session.collect(generate(tokens: tokens, options: options))
  }

  /// Generates on the caller's thread, which it blocks.
  /// - Parameter onToken: gets each token. Of its own session it may use `cancel`, `position` and
  ///   `stats`. What it throws stops the generation and comes out of it.
  @discardableResult
  public func generate(
    _ prompt: String, options: GenerateOptions = GenerateOptions(),
    onToken: (Token) throws -> Void
  ) throws -> FinishReason {
    return try run(.text(prompt), options, onToken)
  }

  @discardableResult
  public func generate(
    tokens: [Int32], options: GenerateOptions = GenerateOptions(),
    onToken: (Token) throws -> Void
  ) throws -> FinishReason {
    return try run(.tokens(tokens), options, onToken)
  }

  /// How the last generation ended; nil when there was none, or it failed.
  public var finishReason: FinishReason? { return handle.finishReason }

  /// Waits until no generation of a stream runs.
  public func idle() async {
    let session = handle
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      session.whenIdle { continuation.resume() }
    }
  }

  private func stream(_ prompt: Prompt, _ options: GenerateOptions)
    -> AsyncThrowingStream<Token, any Error>
  {
    let session = handle
    return AsyncThrowingStream(Token.self) { continuation in
      let generation = StreamedGeneration(session, prompt, options, continuation)
      continuation.onTermination = { termination in
        if case .cancelled = termination { generation.stop() }
      }
      session.whenSettled { generation.start() }
    }
  }

  private static func collect(_ stream: AsyncThrowingStream<Token, any Error>) async throws
    -> String
  {
    var whole = ""
    for try await token in stream { whole += token.text }
    try Task.checkCancellation()
    return whole
  }

  private func run(
    _ prompt: Prompt, _ options: GenerateOptions, _ onToken: (Token) throws -> Void
  ) throws -> FinishReason {
    let raw = try handle.free()
    return try withoutActuallyEscaping(onToken) { onToken in
      let generation = Generation(options, onToken)
      do {
        let reason = try generation.generate(raw, prompt, options, handle.faults)
        handle.record(reason)
        return reason
      } catch {
        handle.record(nil)
        throw error
      }
    }
  }
}
