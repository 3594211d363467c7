import CSluice
import Foundation

/// One generation on a thread of its own, whose tokens go into a stream.
///
/// It makes the blocking call: what a callback throws then comes out of it on the same stack, and
/// nothing has to stay alive for a callback that says it is over.
final class StreamedGeneration: @unchecked Sendable {
  typealias Stream = AsyncThrowingStream<Token, any Error>

  private let session: SessionHandle
  private let prompt: Prompt
  private let options: GenerateOptions
  private let continuation: Stream.Continuation

  private let lock = NSLock()
  private var stopped = false
  private var over = false
  private var thread: pthread_t?

  /// Stops the library's loop; goes no further.
  private struct NobodyListens: Error {}

  init(
    _ session: SessionHandle, _ prompt: Prompt, _ options: GenerateOptions,
    _ continuation: Stream.Continuation
  ) {
    self.session = session
    self.prompt = prompt
    self.options = options
    self.continuation = continuation
  }

  var isStopped: Bool {
    lock.lock()
    defer { lock.unlock() }
    return stopped
  }

  /// Whether the caller is one of its callbacks.
  var isOnItsThread: Bool {
    lock.lock()
    defer { lock.unlock() }
    return thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false
  }

  /// Begins, or ends the stream with the reason why not.
  func start() {
    if isStopped { return continuation.finish() }
    do {
      try session.begin(self)
      Thread.detachNewThread { [self] in run() }
    } catch {
      continuation.finish(throwing: error)
    }
  }

  /// Nobody takes tokens any more, or somebody wants no more of them. Any thread, at any time.
  func stop() {
    lock.lock()
    defer { lock.unlock() }
    if stopped || over { return }
    stopped = true
    // Before the call of run() has begun, this stops it as soon as it does.
    if thread != nil { sluice_session_cancel(session.raw) }
  }

  private func run() {
    lock.lock()
    thread = pthread_self()
    lock.unlock()
    let result = Result { try generate() }
    lock.lock()
    over = true
    let cancelled = stopped
    lock.unlock()
    // It may have ended by itself meanwhile, and the cancellation would stop the next call: a call
    // with no tokens uses it up.
    if cancelled { _ = sluice_session_prefill(session.raw, nil, 0, nil, nil, nil) }
    session.end(try? result.get())
    switch result {
    case .success: continuation.finish()
    case .failure(let error): continuation.finish(throwing: error)
    }
  }

  private func generate() throws -> FinishReason {
    if isStopped { return .cancelled }
    let generation = Generation(options) { [self] token in
      if isStopped { throw NobodyListens() }
      if case .terminated = continuation.yield(token) { throw NobodyListens() }
    }
    do {
      return try generation.generate(session.raw, prompt, options, session.faults)
    } catch is NobodyListens {
      return .cancelled
    } catch let error as SluiceError where error.code == .cancelled {
      return .cancelled
    }
  }
}
