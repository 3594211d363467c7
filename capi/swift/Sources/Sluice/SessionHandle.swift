import CSluice
import Foundation

/// Owns a session's handle. A generation that runs on another thread holds one too, so that the
/// session is there until its last callback.
final class SessionHandle: @unchecked Sendable {
  /// For calls that are allowed at any time; the others ask free().
  let raw: OpaquePointer
  let vocabSize: Int
  let faults: ReaderFaults?

  private let state = NSCondition()
  private var running: StreamedGeneration?
  private var waiting: [() -> Void] = []
  private var lastReason: FinishReason?

  init(_ raw: OpaquePointer, vocabSize: Int, faults: ReaderFaults?) {
    self.raw = raw
    self.vocabSize = vocabSize
    self.faults = faults
  }

  deinit {
    sluice_session_close(raw)
  }

  var finishReason: FinishReason? {
    state.lock()
    defer { state.unlock() }
    return lastReason
  }

  /// For calls that need the session to themselves. Waits for a generation that has been stopped,
  /// unless this is one of its callbacks.
  func free() throws -> OpaquePointer {
    state.lock()
    defer { state.unlock() }
    while let generation = running {
      guard generation.isStopped, !generation.isOnItsThread else {
        throw SluiceError(.badState, "a generation runs on this session")
      }
      state.wait()
    }
    return raw
  }

  /// A generation on another thread begins.
  func begin(_ generation: StreamedGeneration) throws {
    state.lock()
    defer { state.unlock() }
    if running != nil { throw SluiceError(.badState, "a generation runs on this session") }
    running = generation
  }

  /// What begin() let in is over; `reason` is nil when it failed.
  func end(_ reason: FinishReason?) {
    state.lock()
    running = nil
    lastReason = reason
    let ready = waiting
    waiting = []
    state.broadcast()
    state.unlock()
    for body in ready { body() }
  }

  /// A generation on the caller's thread is over.
  func record(_ reason: FinishReason?) {
    state.lock()
    defer { state.unlock() }
    lastReason = reason
  }

  /// Runs `body` when no generation runs on another thread: now, or where one ends.
  func whenIdle(_ body: @escaping () -> Void) {
    state.lock()
    let idle = running == nil
    if !idle { waiting.append(body) }
    state.unlock()
    if idle { body() }
  }

  /// The same, but only behind a generation that has been stopped; others are not waited for.
  func whenSettled(_ body: @escaping () -> Void) {
    state.lock()
    let settling = running?.isStopped ?? false
    if settling { waiting.append(body) }
    state.unlock()
    if !settling { body() }
  }

  func cancel() {
    state.lock()
    let generation = running
    state.unlock()
    if let generation = generation {
      generation.stop()
    } else {
      sluice_session_cancel(raw)
    }
  }
}
