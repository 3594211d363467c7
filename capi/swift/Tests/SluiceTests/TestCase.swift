import Foundation
import Sluice
import XCTest

/// On the model that comes with Sluice; SLUICE_TEST_MODEL is the path of its bundle file, and
/// SLUICE_TEST_CHECKPOINT the folder that it was converted from.
class TestCase: XCTestCase {
  let prompt = "The old woman opened the door and"
  private var folders: [String] = []

  override func tearDown() {
    for folder in folders { try? FileManager.default.removeItem(atPath: folder) }
    super.tearDown()
  }

  private func path(in variable: String) throws -> String {
    guard let path = ProcessInfo.processInfo.environment[variable] else {
      throw XCTSkip("\(variable) is not set")
    }
    return path
  }

  func modelPath() throws -> String { return try path(in: "SLUICE_TEST_MODEL") }

  func checkpoint() throws -> String { return try path(in: "SLUICE_TEST_CHECKPOINT") }

  func modelBytes() throws -> Data {
    return try Data(contentsOf: URL(fileURLWithPath: modelPath()))
  }

  func smallOptions(sessions: Int = 1) -> ModelOptions {
    return ModelOptions(dramBudgetBytes: 64 << 20, contextTokens: 256, maxSessions: sessions)
  }

  func openModel(sessions: Int = 1) throws -> FlashModel {
    return try FlashModel(path: try modelPath(), options: smallOptions(sessions: sessions))
  }

  /// Of 240 tokens whatever they are: it takes long enough to be stopped on the way.
  func longGeneration() -> GenerateOptions {
    var options = GenerateOptions(maxTokens: 240)
    options.ignoreEOS = true
    return options
  }

  /// A copy of the model, and a text to train its predictors on: so little of it that this takes
  /// seconds.
  func trainable() throws -> (file: String, text: String) {
    let file = try temporaryFile("tales.flash")
    try modelBytes().write(to: URL(fileURLWithPath: file))
    let text = try temporaryFile("text.txt")
    let whole = try Data(contentsOf: URL(fileURLWithPath: checkpoint() + "/held-out.txt"))
    try whole.prefix(16_000).write(to: URL(fileURLWithPath: text))
    return (file, text)
  }

  /// A path in a folder that goes with the test.
  func temporaryFile(_ name: String) throws -> String {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("sluice-" + UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    folders.append(folder.path)
    return folder.appendingPathComponent(name).path
  }

  /// The error that `body` throws; nil, and a failed test, when it throws none or another.
  @discardableResult
  func sluiceError(
    _ code: SluiceError.Code, file: StaticString = #filePath, line: UInt = #line,
    _ body: () throws -> Void
  ) -> SluiceError? {
    do {
      try body()
      XCTFail("nothing was thrown", file: file, line: line)
    } catch let error as SluiceError {
      XCTAssertEqual(error.code, code, error.message, file: file, line: line)
      XCTAssertFalse(error.message.isEmpty, file: file, line: line)
      return error
    } catch {
      XCTFail("not Sluice's error: \(error)", file: file, line: line)
    }
    return nil
  }

  /// That `body` throws a `Stop`.
  func stops(file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> Void) {
    XCTAssertThrowsError(try body(), file: file, line: line) { error in
      XCTAssertTrue(error is Stop, "\(error)", file: file, line: line)
    }
  }
}

/// What closures of the tests throw.
struct Stop: Error {}

/// A number that several threads change.
final class Counter: @unchecked Sendable {
  private let lock = NSLock()
  private var number = 0

  @discardableResult
  func add(_ more: Int = 1) -> Int {
    lock.lock()
    defer { lock.unlock() }
    number += more
    return number
  }

  var value: Int { return add(0) }
}
