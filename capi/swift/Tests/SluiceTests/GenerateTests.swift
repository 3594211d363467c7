import Foundation
import Sluice
import XCTest

final class GenerateTests: TestCase {
  private func collect(_ stream: AsyncThrowingStream<Token, any Error>) async throws -> [Token] {
    var tokens: [Token] = []
    for try await token in stream { tokens.append(token) }
    return tokens
  }

  private func text(_ tokens: [Token]) -> String {
    return tokens.map { $0.text }.joined()
  }

  func testStreamedIsWhole() async throws {
    let model = try openModel()
    let session = try model.makeSession()
    let options = GenerateOptions(maxTokens: 20)
    let streamed = try await collect(session.generate(prompt, options: options))
    let ids = streamed.compactMap { $0.id }
    XCTAssertEqual(ids.count, 20)
    XCTAssertFalse(text(streamed).isEmpty)
    XCTAssertEqual(session.finishReason, .length)
    XCTAssertEqual(try session.stats().tokens, 19)
    // The last token of a generation is not at a position yet.
    let tokens = try session.tokens()
    XCTAssertEqual(tokens.count, session.position)
    XCTAssertEqual(Array(tokens.suffix(19)), Array(ids.prefix(19)))

    try session.reset()
    let whole = try await session.text(prompt, options: options)
    XCTAssertEqual(whole, text(streamed))
    try session.reset()
    var blocking: [Token] = []
    let reason = try session.generate(prompt, options: options) { blocking.append($0) }
    XCTAssertEqual(reason, .length)
    XCTAssertEqual(session.finishReason, .length)
    XCTAssertEqual(blocking, streamed)
    // From the ids of the prompt, the same three times.
    let start = try model.tokenize(prompt, addSpecial: true)
    try session.reset()
    let fromIDs = try await collect(session.generate(tokens: start, options: options))
    XCTAssertEqual(fromIDs, streamed)
    try session.reset()
    let text = try await session.text(tokens: start, options: options)
    XCTAssertEqual(text, whole)
    try session.reset()
    blocking = []
    try session.generate(tokens: start, options: options) { blocking.append($0) }
    XCTAssertEqual(blocking, streamed)
    // And a loop of one's own.
    try session.reset()
    var logits = try session.prefill(start)
    for id in ids {
      let best = logits.indices.max { logits[$0] < logits[$1] }
      XCTAssertEqual(best, Int(id))
      logits = try session.decode(id)
    }
  }

  func testSampling() async throws {
    let session = try openModel().makeSession()
    var options = GenerateOptions(maxTokens: 20, temperature: 1.5)
    options.topK = 50
    options.topP = 0.95
    options.minP = 0.01
    options.repetitionPenalty = 1.1
    var texts: [String] = []
    for seed: UInt64 in [1, 1, 2] {
      options.seed = seed
      try session.reset()
      texts.append(try await session.text(prompt, options: options))
    }
    XCTAssertEqual(texts[0], texts[1])
    XCTAssertNotEqual(texts[0], texts[2])
  }

  func testStopStrings() async throws {
    let session = try openModel().makeSession()
    let whole = try await session.text(prompt, options: GenerateOptions(maxTokens: 20))
    var options = GenerateOptions(maxTokens: 20)
    options.stop = ["nowhere in the text", String(whole.dropFirst(8).prefix(6))]
    try session.reset()
    let cut = try await session.text(prompt, options: options)
    XCTAssertEqual(session.finishReason, .stop)
    XCTAssertLessThan(cut.count, whole.count)
    XCTAssertTrue(whole.hasPrefix(cut))
  }

  func testWholePromptAndSpecialTokens() async throws {
    let model = try openModel()
    let session = try model.makeSession()
    var options = GenerateOptions(maxTokens: 4)
    options.wholePrompt = true
    let first = try await session.text(prompt, options: options)
    let again = try await session.text(prompt, options: options)
    XCTAssertEqual(first, again)
    let shared = try model.tokenize(prompt, addSpecial: true).count
    XCTAssertGreaterThanOrEqual(try session.stats().reusedTokens, shared - 1)
    options.specialTokens = false
    _ = try await session.text(prompt, options: options)
    XCTAssertEqual(session.position, shared - 1 + 3)
  }

  func testLogprobs() async throws {
    let session = try openModel().makeSession()
    var options = GenerateOptions(maxTokens: 6)
    let without = try await collect(session.generate(prompt, options: options))
    XCTAssertTrue(without.allSatisfy { $0.logprob == nil && $0.top.isEmpty })
    options.logprobs = 3
    try session.reset()
    let tokens = try await collect(session.generate(prompt, options: options))
    for token in tokens where token.id != nil {
      let logprob = try XCTUnwrap(token.logprob)
      XCTAssertEqual(token.top.count, 3)
      // Greedy: the likeliest is the one.
      XCTAssertEqual(token.top[0].id, token.id)
      XCTAssertEqual(token.top[0].logprob, logprob)
      XCTAssertGreaterThan(token.top[0].logprob, token.top[2].logprob)
      XCTAssertLessThan(token.top.reduce(0) { $0 + exp($1.logprob) }, 1.001)
    }
    options.logprobs = 0
    try session.reset()
    let chosen = try await collect(session.generate(prompt, options: options))
    XCTAssertEqual(chosen.map { $0.logprob }, tokens.map { $0.logprob })
    XCTAssertTrue(chosen.allSatisfy { $0.top.isEmpty })
    // Text that was held back belongs to no token.
    options.stop = [String(text(tokens).suffix(2)) + " and no such text"]
    try session.reset()
    let held = try await collect(session.generate(prompt, options: options))
    XCTAssertEqual(text(held), text(tokens))
    XCTAssertEqual(held.last, Token(id: nil, text: String(text(tokens).suffix(2))))
    options.logprobs = 100_000
    do {
      _ = try await collect(session.generate(prompt, options: options))
      XCTFail("so many are refused")
    } catch let error as SluiceError {
      XCTAssertEqual(error.code, .invalidArgument)
    }
  }

  func testLogitsAreChanged() async throws {
    let session = try openModel().makeSession()
    let free = try await collect(session.generate(prompt, options: GenerateOptions(maxTokens: 8)))
    let forbidden = try XCTUnwrap(free[0].id)
    let start = session.position - 7
    var options = GenerateOptions(maxTokens: 8)
    let positions = Counter()
    options.onLogits = { logits, position in
      positions.add(position)
      XCTAssertEqual(logits.count, 4096)
      logits[Int(forbidden)] = -.infinity
    }
    try session.reset()
    let other = try await collect(session.generate(prompt, options: options))
    XCTAssertFalse(other.contains { $0.id == forbidden })
    XCTAssertEqual(positions.value, (start..<start + 8).reduce(0, +))
    // What it throws comes out, and the session can go on.
    options.onLogits = { _, position in if position == start + 2 { throw Stop() } }
    try session.reset()
    var seen = 0
    do {
      for try await _ in session.generate(prompt, options: options) { seen += 1 }
      XCTFail("nothing came out")
    } catch is Stop {
    }
    XCTAssertEqual(seen, 2)
    XCTAssertNil(session.finishReason)
    stops { try session.generate(" and", options: longGeneration()) { _ in throw Stop() } }
    XCTAssertNil(session.finishReason)
    try session.reset()
    let after = try await collect(session.generate(prompt, options: GenerateOptions(maxTokens: 8)))
    XCTAssertEqual(after, free)
  }

  func testCallbacksMayLookAndCancel() async throws {
    let session = try openModel().makeSession()
    var count = 0
    let reason = try session.generate(prompt, options: longGeneration()) { _ in
      count += 1
      XCTAssertEqual(try session.stats().tokens, count - 1)
      sluiceError(.badState) { try session.reset() }
      if count == 5 { session.cancel() }
    }
    XCTAssertEqual(reason, .cancelled)
    XCTAssertLessThan(count, 8)
    var options = longGeneration()
    let refused = Counter()
    options.onLogits = { _, _ in
      do { try session.reset() } catch { refused.add() }
      session.cancel()
      // Stopped, and still not free for its own callback: that would wait for itself.
      do { try session.reset() } catch { refused.add() }
    }
    for try await _ in session.generate(" and", options: options) {}
    XCTAssertEqual(refused.value, 2)
    XCTAssertEqual(session.finishReason, .cancelled)
  }

  func testErrorsOfStreams() async throws {
    let session = try openModel().makeSession()
    var withNUL = GenerateOptions(maxTokens: 2)
    withNUL.stop = ["a\0b"]
    for options in [
      GenerateOptions(maxTokens: 100_000), GenerateOptions(maxTokens: -1),
      GenerateOptions(maxTokens: 2, temperature: -1), withNUL,
    ] {
      do {
        _ = try await session.text(prompt, options: options)
        XCTFail("\(options) were taken")
      } catch let error as SluiceError {
        XCTAssertEqual(error.code, .invalidArgument)
      }
      sluiceError(.invalidArgument) {
        try session.generate(prompt, options: options) { _ in XCTFail("a token came") }
      }
    }
    XCTAssertEqual(session.position, 0)
    XCTAssertNil(session.finishReason)
  }
}
