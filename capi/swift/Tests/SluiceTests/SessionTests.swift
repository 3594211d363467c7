import Foundation
import Sluice
import XCTest

final class SessionTests: TestCase {
  func testRewindCloneSaveLoad() async throws {
    let model = try openModel(sessions: 2)
    let session = try model.makeSession()
    let start = try model.tokenize(prompt, addSpecial: true)
    let logits = try session.prefill(start)
    XCTAssertEqual(session.position, start.count)
    let file = try temporaryFile("saved.session")
    try session.save(to: file)
    let next = try session.decode(7)
    try session.rewind(to: start.count)
    XCTAssertEqual(try session.decode(7), next)
    let clone = try session.clone()
    XCTAssertEqual(try clone.tokens(), start + [7])
    XCTAssertEqual(try clone.decode(9), try session.decode(9))
    sluiceError(.badState) { _ = try session.clone() }
    try clone.load(from: file)
    XCTAssertEqual(try clone.tokens(), start)
    XCTAssertEqual(try clone.decode(7), next)
    // And the same text from there.
    try session.rewind(to: start.count + 1)
    let options = GenerateOptions(maxTokens: 10)
    let text = try await session.text(tokens: [5], options: options)
    let same = try await clone.text(tokens: [5], options: options)
    XCTAssertEqual(same, text)
    try session.reset()
    XCTAssertEqual(session.position, 0)
    XCTAssertEqual(try session.prefill(start), logits)
    // Without logits, and with those of an array that is there.
    try session.reset()
    try session.feed(start)
    XCTAssertEqual(session.position, start.count)
    var mine = [Float](repeating: 0, count: logits.count)
    try session.decode(7, into: &mine)
    XCTAssertEqual(mine, next)
    mine = []
    sluiceError(.invalidArgument) { try session.decode(7, into: &mine) }
  }

  func testErrors() throws {
    let model = try openModel()
    let session = try model.makeSession()
    sluiceError(.badState) { _ = try model.makeSession() }
    sluiceError(.invalidArgument) { try session.rewind(to: 5) }
    sluiceError(.invalidArgument) { try session.rewind(to: -1) }
    sluiceError(.notFound) { try session.load(from: "/no/such.session") }
    sluiceError(.notFound) { try session.save(to: "/no/such/folder/saved.session") }
    sluiceError(.invalidArgument) { try session.save(to: "a\0b") }
    sluiceError(.invalidArgument) { try session.prefill([]) }
    sluiceError(.invalidArgument) { try session.decode(-1) }
    sluiceError(.invalidArgument) { try session.decode(4096) }
    let file = try temporaryFile("damaged.session")
    try session.prefill([5, 6, 7])
    try session.save(to: file)
    var bytes = try Data(contentsOf: URL(fileURLWithPath: file))
    bytes[bytes.count / 2] ^= 1
    try bytes.write(to: URL(fileURLWithPath: file))
    sluiceError(.corrupt) { try session.load(from: file) }
    XCTAssertEqual(try session.tokens(), [5, 6, 7])
  }

  func testStats() throws {
    let session = try openModel().makeSession()
    try session.prefill([5, 6, 7])
    try session.decode(8)
    let stats = try session.stats()
    XCTAssertEqual(stats.tokens, 1)
    XCTAssertEqual(stats.prefillTokens, 3)
    XCTAssertGreaterThan(stats.totalMsPerToken, 0)
    XCTAssertFalse(stats.engine.isEmpty)
    XCTAssertFalse(stats.engineReason.isEmpty)
    XCTAssertFalse(stats.lookahead.isEmpty)
    try session.resetStats()
    XCTAssertEqual(try session.stats().tokens, 0)
  }

  func testAnyDropOrder() async throws {
    var model: FlashModel? = try openModel()
    var session: Session? = try model?.makeSession()
    model = nil
    let text = try await session?.text(prompt, options: GenerateOptions(maxTokens: 4))
    XCTAssertEqual(text?.isEmpty, false)
    // A running generation keeps its session.
    let stream = session?.generate("", options: GenerateOptions(maxTokens: 4))
    session = nil
    var count = 0
    if let stream = stream {
      for try await token in stream where token.id != nil { count += 1 }
    }
    XCTAssertEqual(count, 4)
  }

  /// Each slot is given back, whatever became of the generation: one leaked session fails the next
  /// round.
  func testNothingIsLeaked() async throws {
    let model = try openModel()
    for round in 0..<12 {
      weak var kept: Session?
      do {
        let session = try model.makeSession()
        kept = session
        var options = longGeneration()
        if round % 4 == 3 { options.onLogits = { _, _ in throw Stop() } }
        let stream = session.generate(prompt, options: options)
        if round % 4 == 1 { session.cancel() }
        if round % 4 != 0 {
          do { for try await _ in stream { if round % 4 == 2 { break } } } catch is Stop {}
        }
        withExtendedLifetime(stream) {}
      }
      XCTAssertNil(kept)
      // The thread of the generation may be the last that holds it.
      let limit = Date(timeIntervalSinceNow: 5)
      while true {
        do {
          _ = try model.makeSession()
          break
        } catch {
          guard Date() < limit else { throw error }
          try await Task.sleep(nanoseconds: 1_000_000)
        }
      }
    }
  }
}
