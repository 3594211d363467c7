import Foundation
import Sluice
import XCTest

final class ModelTests: TestCase {
  func testPlanAndInfo() throws {
    let path = try modelPath()
    let plan = try FlashModel.plan(path: path, options: smallOptions())
    XCTAssertTrue(plan.fits)
    XCTAssertLessThanOrEqual(plan.floorBytes, plan.recommendedBytes)
    XCTAssertEqual(plan.budgetBytes, 64 << 20)
    XCTAssertGreaterThan(plan.kvBytes, 0)
    let tight = try FlashModel.plan(path: path, options: ModelOptions(dramBudgetBytes: 1))
    XCTAssertFalse(tight.fits)
    let model = try openModel()
    XCTAssertEqual(try model.plan(), plan)
    XCTAssertNotEqual(plan.mode, .automatic)
    let info = try model.info()
    XCTAssertEqual(info.family, "opt")
    XCTAssertEqual([info.numLayers, info.dModel, info.dFFN, info.vocabSize], [8, 256, 1024, 4096])
    XCTAssertTrue(info.hasTokenizer)
    XCTAssertEqual(info.fileBytes, try modelBytes().count)
    XCTAssertEqual(info.eosIDs, [2])
  }

  func testOptionsArrive() throws {
    var options = smallOptions()
    options.kvType = .f16
    let path = try modelPath()
    let full = try FlashModel.plan(path: path, options: smallOptions())
    let half = try FlashModel.plan(path: path, options: options)
    XCTAssertEqual(2 * half.kvBytes, full.kvBytes)
    options.residentType = .q8
    XCTAssertLessThan(
      try FlashModel.plan(path: path, options: options).residentBytes, full.residentBytes)
    options = smallOptions(sessions: 3)
    options.mode = .dense
    options.engine = .pread
    options.threads = 1
    options.skipVerify = true
    options.disabled = [.window, .lookahead]
    let model = try FlashModel(path: path, options: options)
    XCTAssertEqual(try model.plan().maxSessions, 3)
    XCTAssertEqual(try model.plan().mode, .dense)
    XCTAssertEqual(try model.makeSession().stats().engine, "pread")
    options.disabled = ModelOptions.Techniques(rawValue: 1 << 20)
    sluiceError(.unsupported) { _ = try FlashModel(path: path, options: options) }
    options.disabled = []
    options.deviceCurvePath = "/no/such/curve"
    sluiceError(.notFound) { _ = try FlashModel(path: path, options: options) }
  }

  func testTokens() throws {
    let model = try openModel()
    let tokens = try model.tokenize(prompt)
    XCTAssertFalse(tokens.isEmpty)
    XCTAssertEqual(try model.detokenize(tokens), prompt)
    XCTAssertEqual(try model.tokenize(prompt, addSpecial: true).count, tokens.count + 1)
    XCTAssertEqual(try model.tokenize(""), [])
    XCTAssertEqual(try model.detokenize([]), "")
    for text in ["caf\u{e9} \u{1f30d}", String(repeating: "once upon a time ", count: 500), "a\0b"]
    {
      XCTAssertEqual(try model.detokenize(try model.tokenize(text)), text)
    }
    sluiceError(.invalidArgument) { _ = try model.detokenize([4096]) }
  }

  func testErrors() throws {
    let path = try modelPath()
    sluiceError(.notFound) { _ = try FlashModel(path: "/no/such.flash") }
    sluiceError(.outOfMemory) {
      _ = try FlashModel(path: path, options: ModelOptions(dramBudgetBytes: 1))
    }
    sluiceError(.invalidArgument) {
      _ = try FlashModel(path: path, options: ModelOptions(contextTokens: -1))
    }
    // Not the file in front of the NUL.
    sluiceError(.invalidArgument) { _ = try FlashModel(path: path + "\0.flash") }
    sluiceError(.invalidArgument) { _ = try FlashModel(path: try checkpoint() + "/config.json") }
    let error = sluiceError(.notFound) { _ = try FlashModel.plan(path: "/no/such.flash") }
    XCTAssertEqual(error?.description.contains("/no/such.flash"), true)
  }

  func testOpeningTellsOfItsProgress() throws {
    var last = 0.0
    _ = try FlashModel(path: try modelPath(), options: smallOptions()) { stage, done in
      XCTAssertFalse(stage.isEmpty)
      XCTAssertTrue((last...1).contains(done))
      last = done
    }
    XCTAssertGreaterThan(last, 0)
    stops {
      _ = try FlashModel(path: try modelPath(), options: smallOptions()) { _, _ in throw Stop() }
    }
  }

  func testOnOwnThread() async throws {
    let path = try modelPath()
    let options = smallOptions()
    let model = try await onOwnThread { try FlashModel(path: path, options: options) }
    let session = try model.makeSession()
    let tokens = try model.tokenize(String(repeating: "once upon a time ", count: 40))
    let calls = Counter()
    let task = Task {
      try await onOwnThread {
        try session.prefill(tokens) { _, _ in
          calls.add()
          Thread.sleep(forTimeInterval: 0.01)
        }
      } onCancel: {
        session.cancel()
      }
    }
    while calls.value == 0 { try await Task.sleep(nanoseconds: 1_000_000) }
    task.cancel()
    do {
      _ = try await task.value
      XCTFail("it ran to its end")
    } catch let error as SluiceError {
      XCTAssertEqual(error.code, .cancelled)
    }
    XCTAssertEqual(session.position, 0)
  }

  func testLibrary() throws {
    XCTAssertEqual(sluiceVersion().split(separator: ".").count, 3)
    XCTAssertEqual(sluiceABI(), 1)
    // A remark cannot be provoked for certain; setting and dropping must let the closure go.
    weak var kept: Counter?
    do {
      let counter = Counter()
      kept = counter
      SluiceLog.setHandler { _, _ in counter.add() }
      XCTAssertNotNil(kept)
    }
    XCTAssertNotNil(kept)
    SluiceLog.setHandler(nil)
    XCTAssertNil(kept)
  }
}
