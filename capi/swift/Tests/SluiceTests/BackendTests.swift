import Foundation
import Sluice
import XCTest

final class BackendTests: TestCase {
  private func backend(_ mode: ModelOptions.Mode = .dense, path: String? = nil) throws -> Backend {
    var options = ModelOptions(dramBudgetBytes: 64 << 20)
    options.ffnOnly = true
    options.mode = mode
    return try FlashModel(path: try path ?? modelPath(), options: options).makeBackend()
  }

  /// A token that is no constant.
  private func token(_ width: Int) -> [Float] {
    return (0..<width).map { sin(Float($0)) }
  }

  func testForward() throws {
    let backend = try self.backend()
    XCTAssertEqual(backend.numLayers, 8)
    let x = token(256)
    let one = try backend.forward(layer: 3, x)
    XCTAssertEqual(one.count, 256)
    XCTAssertEqual(try backend.forward(layer: 3, x + x), one + one)
    XCTAssertEqual(try backend.forward(layer: 3, []), [])
    sluiceError(.invalidArgument) { _ = try backend.forward(layer: 8, x) }
    sluiceError(.invalidArgument) { _ = try backend.forward(layer: -1, x) }
    sluiceError(.invalidArgument) { _ = try backend.forward(layer: 0, [1]) }
    backend.cancel()
    sluiceError(.cancelled) { _ = try backend.forward(layer: 3, x) }
    XCTAssertEqual(try backend.forward(layer: 3, x), one)
  }

  /// A feed-forward layer of one's own, from the rows.
  func testRows() throws {
    let backend = try self.backend()
    let layer = 5
    let info = try backend.layer(layer)
    XCTAssertEqual([info.dModel, info.dFFN], [256, 1024])
    XCTAssertEqual(info.element, .f16)
    let x = token(info.dModel)
    let neurons = try backend.predict(layer: layer, x)
    XCTAssertEqual(neurons, Array(0..<1024))
    let upBias = try XCTUnwrap(info.upBias)
    var y = try XCTUnwrap(info.downBias)
    let step = min(256, info.numSlots * info.neuronsPerRecord / 2)
    for first in stride(from: 0, to: neurons.count, by: step) {
      let part = Array(neurons[first..<min(first + step, neurons.count)])
      try backend.withRows(layer: layer, neurons: part, more: first > 0) { rows in
        XCTAssertEqual(rows.count, part.count)
        for index in 0..<rows.count {
          let up = rows.up(index).floats()
          let sum = zip(up, x).reduce(upBias[Int(part[index])]) { $0 + $1.0 * $1.1 }
          guard sum > 0 else { continue }
          for (column, weight) in rows.down(index).floats().enumerated() {
            y[column] += sum * weight
          }
        }
      }
    }
    let expected = try backend.forward(layer: layer, x)
    let scale = expected.map { abs($0) }.max() ?? 0
    XCTAssertGreaterThan(scale, 0)
    for (mine, theirs) in zip(y, expected) { XCTAssertEqual(mine, theirs, accuracy: 1e-3 * scale) }
  }

  func testRowsAreGivenBack() throws {
    let backend = try self.backend()
    stops { try backend.withRows(layer: 0, neurons: [1, 2]) { _ in throw Stop() } }
    try backend.withRows(layer: 0, neurons: [1]) { _ in
      sluiceError(.badState) { try backend.withRows(layer: 0, neurons: [2]) { _ in } }
      try backend.withRows(layer: 1, neurons: [2]) { XCTAssertEqual($0.count, 1) }
    }
    try backend.withRows(layer: 0, neurons: [2]) { XCTAssertEqual($0.up(0).bytes.count, 512) }
    for neurons: [UInt32] in [[3, 2], [2, 2], [1024]] {
      sluiceError(.invalidArgument) { try backend.withRows(layer: 0, neurons: neurons) { _ in } }
    }
  }

  func testPredictorsHintsAndStats() throws {
    let (file, text) = try trainable()
    try BundleFile.train(file, calibration: text, options: BundleFile.TrainOptions(rank: 8))
    let backend = try self.backend(.sparse, path: file)
    let x = token(256)
    let neurons = try backend.predict(layer: 2, x)
    XCTAssertLessThan(neurons.count, 1024)
    XCTAssertEqual(neurons, neurons.sorted())
    XCTAssertTrue(try backend.layer(2).hasPredictor)
    try backend.hint(layer: 2, x)
    sluiceError(.invalidArgument) { try backend.hint(layer: 2, x + x) }
    sluiceError(.invalidArgument) { _ = try backend.predict(layer: 2, []) }
    _ = try backend.forward(layer: 2, x)
    let stats = try backend.stats()
    XCTAssertEqual(stats.tokens, 1)
    XCTAssertGreaterThan(stats.recordsNeeded, 0)
    XCTAssertGreaterThan(stats.totalMs, 0)
  }

  func testTakesASession() throws {
    let model = try openModel()
    var backend: Backend? = try model.makeBackend()
    XCTAssertEqual(backend?.numLayers, 8)
    sluiceError(.badState) { _ = try model.makeSession() }
    backend = nil
    _ = try model.makeSession()
  }
}
