import Foundation
import XCTest

import Sluice

/// On the model that comes with Sluice; SLUICE_TEST_MODEL is the path of its bundle file.
final class SluiceTests: XCTestCase {
  let prompt = "The old woman opened the door and"

  func modelPath() throws -> String {
    guard let path = ProcessInfo.processInfo.environment["SLUICE_TEST_MODEL"] else {
      throw XCTSkip("SLUICE_TEST_MODEL names no model")
    }
    return path
  }

  func openModel(sessions: UInt32 = 1) throws -> FlashModel {
    var options = ModelOptions(dramBudgetBytes: 64 << 20, contextTokens: 256)
    options.maxSessions = sessions
    return try FlashModel(path: try modelPath(), options: options)
  }

  func temporaryFile() -> String {
    let name = "sluice-" + UUID().uuidString + ".session"
    return FileManager.default.temporaryDirectory.appendingPathComponent(name).path
  }

  /// The code of the error that `body` throws, nil when it throws none.
  func code(_ body: () throws -> Void) -> SluiceError.Code? {
    do {
      try body()
      return nil
    } catch let error as SluiceError {
      XCTAssertFalse(error.message.isEmpty)
      return error.code
    } catch {
      XCTFail("not Sluice's error: \(error)")
      return nil
    }
  }

  func testPlanAndInfo() throws {
    let path = try modelPath()
    let plan = try FlashModel.plan(path: path, options: ModelOptions(dramBudgetBytes: 64 << 20))
    XCTAssertTrue(plan.fits)
    XCTAssertLessThanOrEqual(plan.floorBytes, plan.budgetBytes)
    let tight = try FlashModel.plan(path: path, options: ModelOptions(dramBudgetBytes: 1))
    XCTAssertFalse(tight.fits)
    let model = try openModel()
    XCTAssertEqual(try model.plan().contextTokens, 256)
    let info = try model.info()
    XCTAssertEqual(info.family, "opt")
    XCTAssertEqual(info.vocabSize, 4096)
    XCTAssertTrue(info.hasTokenizer)
    XCTAssertFalse(sluiceVersion().isEmpty)
  }

  func testTokens() throws {
    let model = try openModel()
    let tokens = try model.tokenize(prompt)
    XCTAssertFalse(tokens.isEmpty)
    XCTAssertEqual(try model.detokenize(tokens), prompt)
    XCTAssertEqual(try model.tokenize(prompt, addSpecial: true).count, tokens.count + 1)
    XCTAssertEqual(try model.tokenize(""), [])
    XCTAssertEqual(try model.detokenize([]), "")
    let accents = "caf\u{e9} \u{1f30d}"
    XCTAssertEqual(try model.detokenize(try model.tokenize(accents)), accents)
    let long = String(repeating: "once upon a time ", count: 500)
    XCTAssertEqual(try model.detokenize(try model.tokenize(long)), long)
  }

  func testGenerate() async throws {
    let session = try openModel().makeSession()
    var ids: [Int32] = []
    var whole = ""
    for try await token in session.generate(prompt, options: GenerateOptions(maxTokens: 20)) {
      if let id = token.id { ids.append(id) }
      whole += token.text
    }
    XCTAssertEqual(ids.count, 20)
    XCTAssertFalse(whole.isEmpty)
    XCTAssertEqual(session.finishReason, .length)
    let stats = try session.stats()
    XCTAssertEqual(stats.tokens, 19)
    XCTAssertFalse(stats.engine.isEmpty)
    // The last token of a generation is not at a position yet.
    let tokens = try session.tokens()
    XCTAssertEqual(tokens.count, session.position)
    XCTAssertEqual(Array(tokens.suffix(19)), Array(ids.prefix(19)))
    try session.reset()
    let again = try await session.text(prompt, options: GenerateOptions(maxTokens: 20))
    XCTAssertEqual(again, whole)
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

  func testErrors() async throws {
    XCTAssertEqual(code { _ = try FlashModel(path: "/no/such.flash") }, .notFound)
    let path = try modelPath()
    let tiny = ModelOptions(dramBudgetBytes: 1)
    XCTAssertEqual(code { _ = try FlashModel(path: path, options: tiny) }, .outOfMemory)
    let model = try openModel()
    let session = try model.makeSession()
    XCTAssertEqual(code { _ = try model.makeSession() }, .badState)
    XCTAssertEqual(code { try session.rewind(to: 5) }, .invalidArgument)
    XCTAssertEqual(code { try session.rewind(to: -1) }, .invalidArgument)
    XCTAssertEqual(code { try session.load(from: "/no/such.session") }, .notFound)
    XCTAssertEqual(code { _ = try session.prefill([]) }, .invalidArgument)
    do {
      _ = try await session.text(prompt, options: GenerateOptions(maxTokens: 100_000))
      XCTFail("a context of 256 tokens took 100000")
    } catch let error as SluiceError {
      XCTAssertEqual(error.code, .invalidArgument)
    }
    XCTAssertEqual(session.position, 0)
  }

  func testOneCallAtATime() async throws {
    let session = try openModel().makeSession()
    let stream = session.generate(prompt, options: longGeneration())
    XCTAssertEqual(code { try session.reset() }, .badState)
    session.cancel()
    for try await _ in stream {}
    XCTAssertEqual(session.finishReason, .cancelled)
    try session.reset()
  }

  func testDroppedStreamStops() async throws {
    let session = try openModel().makeSession()
    var count = 0
    for try await _ in session.generate(prompt, options: longGeneration()) {
      count += 1
      if count == 3 { break }
    }
    await session.idle()
    XCTAssertLessThan(session.position, 200)
    // It goes on from there.
    let more = try await session.text(" and", options: GenerateOptions(maxTokens: 4))
    XCTAssertFalse(more.isEmpty)
  }

  func testDroppedStreamLeavesNextCallAlone() async throws {
    let session = try openModel().makeSession()
    for round in 0..<20 {
      try session.reset()
      // Dropped at once, or about when it ends by itself.
      let options = GenerateOptions(maxTokens: 1)
      var stream: AsyncThrowingStream<Token, Error>? = session.generate(prompt, options: options)
      try await Task.sleep(nanoseconds: UInt64(round) * 1_000_000)
      XCTAssertNotNil(stream)
      stream = nil
      await session.idle()
      try session.decode(7)
    }
  }

  func testCancelledTaskStops() async throws {
    let session = try openModel().makeSession()
    let options = longGeneration()
    let words = prompt
    let task = Task { () -> Int in
      var count = 0
      for try await _ in session.generate(words, options: options) { count += 1 }
      return count
    }
    try await Task.sleep(nanoseconds: 5_000_000)
    task.cancel()
    _ = try? await task.value
    await session.idle()
    XCTAssertLessThan(session.position, 240)
    try session.reset()
  }

  func testRewindCloneSaveLoad() async throws {
    let model = try openModel(sessions: 2)
    let session = try model.makeSession()
    let start = try model.tokenize(prompt, addSpecial: true)
    let logits = try session.prefill(start)
    XCTAssertEqual(session.position, start.count)
    let file = temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: file) }
    try session.save(to: file)
    let next = try session.decode(7)
    try session.rewind(to: start.count)
    XCTAssertEqual(try session.decode(7), next)
    let clone = try session.clone()
    XCTAssertEqual(try clone.tokens(), start + [7])
    XCTAssertEqual(try clone.decode(9), try session.decode(9))
    try clone.load(from: file)
    XCTAssertEqual(try clone.tokens(), start)
    XCTAssertEqual(try clone.decode(7), next)
    try session.reset()
    XCTAssertEqual(try session.prefill(start), logits)
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

  func testBackend() throws {
    var options = ModelOptions(dramBudgetBytes: 64 << 20)
    options.ffnOnly = true
    options.mode = .dense
    let model = try FlashModel(path: try modelPath(), options: options)
    let backend = try Backend(model: model)
    let width = Int(try model.info().dModel)
    let x = [Float](repeating: 0.5, count: width)
    let one = try backend.forward(layer: 0, x)
    XCTAssertEqual(one.count, width)
    let two = try backend.forward(layer: 0, x + x)
    XCTAssertEqual(two, one + one)
    XCTAssertEqual(code { _ = try backend.forward(layer: 99, x) }, .invalidArgument)
    XCTAssertEqual(code { _ = try backend.forward(layer: 0, [1]) }, .invalidArgument)
  }

  func longGeneration() -> GenerateOptions {
    var options = GenerateOptions(maxTokens: 240)
    options.ignoreEOS = true
    return options
  }
}
