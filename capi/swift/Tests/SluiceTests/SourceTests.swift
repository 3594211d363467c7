import Foundation
import Sluice
import XCTest

/// Bytes in memory; counts, and fails when told to.
private final class Bytes: ModelReader, @unchecked Sendable {
  private let bytes: [UInt8]
  private let alive: Counter
  let fails = Counter()
  let reads = Counter()
  let isSlow = Counter()

  init(_ data: Data, _ alive: Counter) {
    bytes = [UInt8](data)
    self.alive = alive
    alive.add()
  }

  deinit {
    alive.add(-1)
  }

  var count: Int { return bytes.count }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int {
    reads.add()
    if fails.value != 0 { throw Stop() }
    if isSlow.value != 0 { Thread.sleep(forTimeInterval: 0.02) }
    let start = min(Int(clamping: offset), bytes.count)
    // Short reads are allowed.
    let end = min(start + (buffer.count + 1) / 2, bytes.count)
    buffer.copyBytes(from: bytes[start..<end])
    return end - start
  }
}

final class SourceTests: TestCase {
  private func text(of model: FlashModel) throws -> String {
    var text = ""
    try model.makeSession().generate(prompt, options: GenerateOptions(maxTokens: 12)) { token in
      text += token.text
    }
    return text
  }

  func testDescriptor() throws {
    let expected = try text(of: try openModel())
    let file = try XCTUnwrap(FileHandle(forReadingAtPath: try modelPath()))
    let source = ModelSource.descriptor(file.fileDescriptor)
    let model = try FlashModel(source: source, options: smallOptions())
    try file.close()
    XCTAssertEqual(try text(of: model), expected)
    sluiceError(.invalidArgument) {
      _ = try FlashModel(source: .descriptor(-1), options: smallOptions())
    }
  }

  func testPartOfAFile() throws {
    let expected = try text(of: try openModel())
    let bytes = try modelBytes()
    let archive = try temporaryFile("archive")
    let whole = Data(repeating: 7, count: 8192) + bytes + Data(repeating: 7, count: 100)
    try whole.write(to: URL(fileURLWithPath: archive))
    let file = try XCTUnwrap(FileHandle(forReadingAtPath: archive))
    let descriptor = file.fileDescriptor
    let model = try FlashModel(
      source: .descriptor(descriptor, offset: 8192, bytes: bytes.count, name: "tales"),
      options: smallOptions())
    XCTAssertEqual(try text(of: model), expected)
    let error = sluiceError(.invalidArgument) {
      _ = try FlashModel(source: .descriptor(descriptor, offset: 4096, name: "not tales"))
    }
    XCTAssertEqual(error?.message.contains("not tales"), true)
  }

  func testReader() throws {
    let expected = try text(of: try openModel())
    let alive = Counter()
    var reader: Bytes? = Bytes(try modelBytes(), alive)
    var source: ModelSource? = .reader(reader!, bytes: reader!.count, threads: 2)
    let plan = try FlashModel.plan(source: source!, options: smallOptions())
    XCTAssertEqual(
      plan.residentBytes,
      try FlashModel.plan(path: try modelPath(), options: smallOptions()).residentBytes)
    XCTAssertGreaterThan(reader!.reads.value, 0)
    var model: FlashModel? = try FlashModel(source: source!, options: smallOptions())
    reader = nil
    source = nil
    XCTAssertEqual(try text(of: model!), expected)
    var session: Session? = try model!.makeSession()
    model = nil
    XCTAssertEqual(alive.value, 1)
    XCTAssertEqual(session?.position, 0)
    session = nil
    XCTAssertEqual(alive.value, 0)
  }

  func testReaderThatFails() async throws {
    let alive = Counter()
    do {
      let reader = Bytes(try modelBytes(), alive)
      let source = ModelSource.reader(reader, bytes: reader.count, name: "tales")
      reader.fails.add()
      let error = sluiceError(.io) { _ = try FlashModel(source: source) }
      XCTAssertEqual(error?.message.contains("tales"), true)
      XCTAssertTrue(error?.cause is Stop)
      reader.fails.add(-1)
      // So small that tokens need reads.
      let floor = try FlashModel.plan(source: source, options: smallOptions()).floorBytes
      var options = smallOptions()
      options.dramBudgetBytes = floor
      let session = try FlashModel(source: source, options: options).makeSession()
      reader.fails.add()
      XCTAssertTrue(sluiceError(.io) { try session.prefill([5, 6]) }?.cause is Stop)
      do {
        _ = try await session.text(prompt)
        XCTFail("it was read after all")
      } catch let error as SluiceError {
        XCTAssertEqual(error.code, .io)
        XCTAssertTrue(error.cause is Stop)
      }
      // A failure of another kind has no such cause.
      XCTAssertNil(sluiceError(.invalidArgument) { try session.prefill([]) }?.cause)
      reader.fails.add(-1)
      try session.reset()
      let after = try await session.text(prompt, options: GenerateOptions(maxTokens: 12))
      XCTAssertEqual(after, try text(of: try openModel()))
    }
    XCTAssertEqual(alive.value, 0)
  }

  /// Not only between tokens.
  func testAPromptIsStopped() async throws {
    let reader = Bytes(try modelBytes(), Counter())
    let source = ModelSource.reader(reader, bytes: reader.count)
    var options = smallOptions()
    options.dramBudgetBytes = try FlashModel.plan(source: source, options: options).floorBytes
    let session = try FlashModel(source: source, options: options).makeSession()
    reader.isSlow.add()
    let before = reader.reads.value
    let task = Task { [prompt] in try await session.text(prompt) }
    while reader.reads.value == before { try await Task.sleep(nanoseconds: 1_000_000) }
    let asked = Date()
    task.cancel()
    _ = try? await task.value
    await session.idle()
    // The whole takes more than half a minute.
    XCTAssertLessThan(-asked.timeIntervalSinceNow, 2)
    XCTAssertEqual(session.position, 0)
    reader.isSlow.add(-1)
    try session.decode(7)
  }

  func testReaderOfARefusedSourceIsLetGo() throws {
    let alive = Counter()
    do {
      let reader = Bytes(try modelBytes(), alive)
      for source in [
        ModelSource.reader(reader, bytes: reader.count, threads: 100_000),
        ModelSource.reader(reader, bytes: reader.count, name: "a\0b"),
        ModelSource.reader(reader, bytes: -1),
      ] {
        sluiceError(.invalidArgument) { _ = try FlashModel(source: source) }
        sluiceError(.invalidArgument) { _ = try FlashModel.plan(source: source) }
      }
      stops {
        _ = try FlashModel(source: .reader(reader, bytes: reader.count)) { _, _ in throw Stop() }
      }
    }
    XCTAssertEqual(alive.value, 0)
  }

  func testErrorsHaveNumbers() throws {
    struct Denied: ModelReader {
      func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int {
        throw POSIXError(.ENOSPC)
      }
    }
    let error = sluiceError(.outOfMemory) {
      _ = try FlashModel(source: .reader(Denied(), bytes: 1 << 20))
    }
    XCTAssertEqual((error?.cause as? POSIXError)?.code, .ENOSPC)
  }
}
