import Foundation
import Sluice
import XCTest

final class ToolTests: TestCase {
  private func exists(_ path: String) -> Bool {
    return FileManager.default.fileExists(atPath: path)
  }

  func testConvertInspectVerify() throws {
    let file = try temporaryFile("tales.flash")
    var options = BundleFile.ConvertOptions()
    options.numberType = .f16
    var stages: [String] = []
    let report = try BundleFile.convert(try checkpoint(), to: file, options: options) {
      stage, done in
      XCTAssertTrue((0...1).contains(done))
      stages.append(stage)
    }
    XCTAssertFalse(stages.isEmpty)
    XCTAssertTrue(report.hasTokenizer)
    XCTAssertEqual(report.numParts, 1)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: file)).count
    XCTAssertEqual(report.bytes, bytes)
    let json = try JSONSerialization.jsonObject(with: Data(try BundleFile.inspect(file).utf8))
    let config = (json as? [String: Any])?["config"] as? [String: Any]
    XCTAssertEqual(config?["family"] as? String, "opt")
    let records = try BundleFile.verify(file, onDamage: { XCTFail($0) })
    XCTAssertGreaterThanOrEqual(records, report.records)

    let other = try temporaryFile("other.flash")
    stops { try BundleFile.convert(try checkpoint(), to: other) { _, _ in throw Stop() } }
    XCTAssertFalse(exists(other))
    sluiceError(.notFound) { try BundleFile.convert("/no/such/folder", to: other) }
    sluiceError(.invalidArgument) { try BundleFile.convert("a\0b", to: other) }
    sluiceError(.notFound) { _ = try BundleFile.inspect("/no/such/file") }
  }

  func testParts() throws {
    let file = try temporaryFile("parts.flash")
    var options = BundleFile.ConvertOptions()
    options.partBytes = 4 << 20
    options.placement = false
    XCTAssertGreaterThan(
      try BundleFile.convert(try checkpoint(), to: file, options: options).numParts, 1)
    try BundleFile.verify(file)
  }

  func testDamageIsFound() throws {
    let file = try temporaryFile("damaged.flash")
    var bytes = try modelBytes()
    bytes[bytes.count - 5000] ^= 1
    try bytes.write(to: URL(fileURLWithPath: file))
    var places: [String] = []
    sluiceError(.corrupt) { try BundleFile.verify(file, onDamage: { places.append($0) }) }
    XCTAssertEqual(places.count, 1)
    stops { try BundleFile.verify(file, onDamage: { _ in throw Stop() }) }
    stops { try BundleFile.verify(try modelPath()) { _, _ in throw Stop() } }
  }

  func testTrain() throws {
    let (file, text) = try trainable()
    sluiceError(.notFound) { try BundleFile.train(file, calibration: "/no/such/text") }
    stops { try BundleFile.train(file, calibration: text) { _, _ in throw Stop() } }
    XCTAssertEqual(try Data(contentsOf: URL(fileURLWithPath: file)), try modelBytes())
    var options = BundleFile.TrainOptions(rank: 8)
    options.seed = 3
    let layers = try BundleFile.train(file, calibration: text, options: options)
    XCTAssertEqual(layers.map { $0.layer }, Array(0..<8))
    for layer in layers {
      XCTAssertEqual(layer.rank, 8)
      XCTAssertTrue((0.5...1).contains(layer.recall), "\(layer)")
    }
    XCTAssertTrue(try FlashModel(path: file, options: smallOptions()).info().hasPredictors)
  }

  func testEvaluate() throws {
    let model = try openModel()
    let text = try String(contentsOfFile: try checkpoint() + "/held-out.txt", encoding: .utf8)
    var last = 0.0
    let evaluation = try model.evaluate(text, windowTokens: 64, maxTokens: 100) { last = $1 }
    XCTAssertTrue((1...1000).contains(evaluation.perplexity))
    XCTAssertTrue((50...100).contains(evaluation.tokens))
    XCTAssertGreaterThan(last, 0)
    sluiceError(.invalidArgument) { _ = try model.evaluate("") }
    stops { _ = try model.evaluate(text) { _, _ in throw Stop() } }
    let session = try model.makeSession()
    sluiceError(.badState) { _ = try model.evaluate(text) }
    withExtendedLifetime(session) {}
  }

  func testDeviceCurve() throws {
    let curve = try temporaryFile("curve.json")
    // Beside the model: the folder for temporary files is often memory.
    let folder = URL(fileURLWithPath: try modelPath()).deletingLastPathComponent().path
    do {
      let points = try DeviceCurve.measure(folder, seconds: 0.2, saveTo: curve)
      XCTAssertGreaterThan(points.count, 3)
      XCTAssertTrue(points.allSatisfy { $0.gbPerSecond > 0 && $0.readBytes > 0 })
      var options = smallOptions()
      options.deviceCurvePath = curve
      _ = try FlashModel(path: try modelPath(), options: options)
      stops { _ = try DeviceCurve.measure(folder, seconds: 0.2) { _, _ in throw Stop() } }
    } catch let error as SluiceError where error.code == .badState {
      throw XCTSkip("storage that cannot be measured: \(error.message)")
    }
    sluiceError(.notFound) { _ = try DeviceCurve.measure("/no/such/file", seconds: 0.2) }
  }
}
