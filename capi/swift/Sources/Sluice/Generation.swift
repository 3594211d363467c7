import CSluice
import Foundation

/// A generated token.
public struct Token: Equatable, Sendable {
  /// nil when only held-back text is left to give.
  public let id: Int32?
  /// Whole characters, often none: incomplete ones and a possible beginning of a stop string are
  /// held back.
  public let text: String
}

public enum FinishReason: Equatable, Sendable {
  /// An end-of-sequence id or a stop string.
  case stop
  case length
  case cancelled
  case unknown(Int32)

  init(_ number: Int32) {
    switch Int(number) {
    case Int(SLUICE_FINISH_STOP): self = .stop
    case Int(SLUICE_FINISH_LENGTH): self = .length
    case Int(SLUICE_FINISH_CANCELLED): self = .cancelled
    default: self = .unknown(number)
    }
  }
}

/// Owns a session's handle. A generation that runs holds one too, so that the session is there
/// until its last callback.
final class SessionHandle: @unchecked Sendable {
  let raw: OpaquePointer

  private let lock = NSLock()
  private var running = 0
  private var waiting: [CheckedContinuation<Void, Never>] = []
  private var finishReasonValue: FinishReason?

  init(_ raw: OpaquePointer) {
    self.raw = raw
  }

  deinit {
    sluice_session_close(raw)
  }

  var finishReason: FinishReason? {
    lock.lock()
    defer { lock.unlock() }
    return finishReasonValue
  }

  func begin() {
    lock.lock()
    defer { lock.unlock() }
    running += 1
  }

  /// A generation is over; `reason` is nil when it failed.
  func end(_ reason: FinishReason?) {
    lock.lock()
    finishReasonValue = reason
    running -= 1
    var ready: [CheckedContinuation<Void, Never>] = []
    if running == 0 {
      ready = waiting
      waiting = []
    }
    lock.unlock()
    for continuation in ready { continuation.resume() }
  }

  /// Resumes `continuation` when no generation runs.
  func resumeWhenIdle(_ continuation: CheckedContinuation<Void, Never>) {
    lock.lock()
    let idle = running == 0
    if !idle { waiting.append(continuation) }
    lock.unlock()
    if idle { continuation.resume() }
  }
}

/// One generation, as its callbacks on the library's thread see it.
final class Generation: @unchecked Sendable {
  typealias Stream = AsyncThrowingStream<Token, Error>

  private let session: SessionHandle
  private let continuation: Stream.Continuation
  private let lock = NSLock()
  private var stopped = false

  init(_ session: SessionHandle, _ continuation: Stream.Continuation) {
    self.session = session
    self.continuation = continuation
  }

  func start(_ prompt: String, _ options: GenerateOptions) throws {
    let bytes = Array(prompt.utf8CString)
    // Given back in on_done, or below.
    let retained = Unmanaged.passRetained(self)
    session.begin()
    do {
      try options.withC { cOptions in
        try check(
          sluice_session_generate_start(
            session.raw, bytes, bytes.count - 1, cOptions, onToken, onDone,
            retained.toOpaque()))
      }
    } catch {
      session.end(nil)
      retained.release()
      throw error
    }
  }

  /// Nobody takes tokens any more.
  func stop() {
    lock.lock()
    defer { lock.unlock() }
    if stopped { return }
    stopped = true
    sluice_session_cancel(session.raw)
  }

  /// False: no more.
  fileprivate func take(_ token: Token) -> Bool {
    lock.lock()
    let goOn = !stopped
    lock.unlock()
    if goOn { continuation.yield(token) }
    return goOn
  }

  fileprivate func finish(_ status: sluice_status, _ message: String, _ reason: Int32) {
    lock.lock()
    let cancelled = stopped
    stopped = true
    lock.unlock()
    // It may have ended by itself meanwhile, and the cancellation would stop the next call: a call
    // with no tokens uses it up.
    if cancelled { _ = sluice_session_prefill(session.raw, nil, 0, nil, nil, nil) }
    session.end(isOK(status) ? FinishReason(reason) : nil)
    if isOK(status) {
      continuation.finish()
    } else {
      continuation.finish(throwing: SluiceError(status: status, message: message))
    }
  }
}

private func onToken(
  _ token: Int32, _ text: UnsafePointer<CChar>?, _ bytes: Int,
  _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let userData = userData else { return 1 }
  let generation = Unmanaged<Generation>.fromOpaque(userData).takeUnretainedValue()
  let start = text.map { UnsafeRawPointer($0) }
  let chunk = String(decoding: UnsafeRawBufferPointer(start: start, count: bytes), as: UTF8.self)
  return generation.take(Token(id: token < 0 ? nil : token, text: chunk)) ? 0 : 1
}

private func onDone(
  _ status: sluice_status, _ message: UnsafePointer<CChar>?, _ reason: Int32,
  _ userData: UnsafeMutableRawPointer?
) {
  guard let userData = userData else { return }
  let generation = Unmanaged<Generation>.fromOpaque(userData).takeRetainedValue()
  generation.finish(status, message.map { String(cString: $0) } ?? "", reason)
}
