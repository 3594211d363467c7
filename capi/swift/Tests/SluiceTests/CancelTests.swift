import Foundation
import Sluice
import XCTest

/// Stopping: bounded, of the right call, and with nothing left over for the next one.
final class CancelTests: TestCase {
  /// Far more than what is promised: the machine may be busy.
  private let bound = 2.0

  func testOneCallAtATime() async throws {
    let session = try openModel().makeSession()
    let stream = session.generate(prompt, options: longGeneration())
    sluiceError(.badState) { try session.reset() }
    sluiceError(.badState) { _ = try session.tokens() }
    sluiceError(.badState) { try session.generate(prompt) { _ in } }
    do {
      for try await _ in session.generate(prompt) {}
      XCTFail("two at a time")
    } catch let error as SluiceError {
      XCTAssertEqual(error.code, .badState)
    }
    // The first one has not noticed.
    var count = 0
    for try await token in stream where token.id != nil { count += 1 }
    XCTAssertEqual(count, 240)
    XCTAssertEqual(session.finishReason, .length)
    try session.reset()
  }

  func testCancelIsBounded() async throws {
    let session = try openModel().makeSession()
    for after in [0, 1, 10] {
      try session.reset()
      var count = 0
      var asked = Date()
      let stream = session.generate(prompt, options: longGeneration())
      if after == 0 { session.cancel() }
      for try await _ in stream {
        count += 1
        if count == after {
          asked = Date()
          session.cancel()
        }
      }
      XCTAssertLessThan(-asked.timeIntervalSinceNow, bound)
      XCTAssertEqual(session.finishReason, .cancelled)
      XCTAssertLessThan(count, 200)
      // Used up.
      try session.decode(7)
    }
    // Where nothing runs, it is for the next call.
    session.cancel()
    sluiceError(.cancelled) { try session.decode(7) }
    try session.decode(7)
  }

  func testACancellationThatCameTooLateIsTakenBack() async throws {
    let session = try openModel().makeSession()
    var options = GenerateOptions(maxTokens: 1)
    let first = try await session.text(prompt, options: options)
    XCTAssertFalse(first.isEmpty)
    // The generation ends by itself before the library looks whether it is cancelled.
    options.stop = [first]
    options.onLogits = { _, _ in session.cancel() }
    try session.reset()
    for try await _ in session.generate(prompt, options: options) {}
    try session.decode(7)
  }

  func testLeavingTheLoopStops() async throws {
    let session = try openModel().makeSession()
    for round in 1...5 {
      var count = 0
      for try await _ in session.generate(prompt, options: longGeneration()) {
        count += 1
        if count == round { break }
      }
      let asked = Date()
      // The next call waits for the end.
      try session.reset()
      XCTAssertLessThan(-asked.timeIntervalSinceNow, bound)
      XCTAssertEqual(session.finishReason, .cancelled)
    }
    // Another generation does so, too, and goes on from there.
    for try await _ in session.generate(prompt, options: longGeneration()) { break }
    let more = try await session.text(" and", options: GenerateOptions(maxTokens: 4))
    XCTAssertFalse(more.isEmpty)
    try session.reset()
    for try await _ in session.generate(prompt, options: longGeneration()) { break }
    await session.idle()
    XCTAssertLessThan(session.position, 230)
  }

  func testDroppedStreamLeavesNextCallAlone() async throws {
    let model = try openModel()
    let session = try model.makeSession()
    let start = try model.tokenize(prompt)
    for round in 0..<40 {
      try session.reset()
      // Dropped at once, or about when it ends by itself.
      let options = GenerateOptions(maxTokens: 1)
      var stream: AsyncThrowingStream<Token, any Error>? =
        round % 2 == 0
        ? session.generate(prompt, options: options)
        : session.generate(tokens: start, options: options)
      try await Task.sleep(nanoseconds: UInt64(round) * 500_000)
      XCTAssertNotNil(stream)
      stream = nil
      try session.decode(7)
    }
  }

  func testCancelledTaskStops() async throws {
    let session = try openModel().makeSession()
    let (words, options) = (prompt, longGeneration())
    let seen = Counter()
    let task = Task {
      for try await _ in session.generate(words, options: options) { seen.add() }
    }
    while seen.value == 0 { try await Task.sleep(nanoseconds: 1_000_000) }
    let asked = Date()
    task.cancel()
    try await task.value
    await session.idle()
    XCTAssertLessThan(-asked.timeIntervalSinceNow, bound)
    XCTAssertLessThan(session.position, 240)
    try session.reset()

    // Half a text is not taken for a whole one.
    let text = Task { try await session.text(words, options: options) }
    try await Task.sleep(nanoseconds: 5_000_000)
    text.cancel()
    do {
      _ = try await text.value
      XCTFail("it ran to its end")
    } catch is CancellationError {
    }
    try session.reset()
  }

  func testPrefillStops() throws {
    let model = try openModel()
    let session = try model.makeSession()
    let tokens = try model.tokenize(String(repeating: "once upon a time ", count: 40))
    var calls: [Int] = []
    try session.prefill(tokens) { done, total in
      XCTAssertEqual(total, tokens.count)
      calls.append(done)
    }
    XCTAssertEqual(calls.last, tokens.count)
    XCTAssertGreaterThan(calls.count, 8)
    try session.reset()
    stops { try session.prefill(tokens) { done, _ in if done > 0 { throw Stop() } } }
    XCTAssertEqual(session.position, 0)
    let clock = Date()
    sluiceError(.cancelled) { try session.prefill(tokens) { _, _ in session.cancel() } }
    XCTAssertLessThan(-clock.timeIntervalSinceNow, 5)
    XCTAssertEqual(session.position, 0)
    try session.prefill(tokens)
  }

  /// Whatever comes when, somebody's call neither hangs nor gets another's cancellation.
  func testManyAtOnce() async throws {
    let model = try openModel(sessions: 3)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for seed in 0..<3 {
        let session = try model.makeSession()
        let (words, options) = (prompt, longGeneration())
        group.addTask {
          for round in 0..<8 {
            var count = 0
            for try await _ in session.generate(words, options: options) {
              count += 1
              if count > (round * 7 + seed) % 5 { break }
            }
            try session.reset()
            let text = try await session.text(words, options: GenerateOptions(maxTokens: 3))
            XCTAssertEqual(session.finishReason, .length)
            XCTAssertFalse(text.isEmpty)
            try session.reset()
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
