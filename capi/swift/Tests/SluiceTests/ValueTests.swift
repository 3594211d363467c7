import XCTest

@testable import Sluice

final class ValueTests: XCTestCase {
  func testHalfPrecision() {
    let known: [(UInt16, Float)] = [
      (0x0000, 0), (0x3c00, 1), (0xc000, -2), (0x7bff, 65504), (0x0001, 0x1p-24),
      (0x03ff, 0x1.ff8p-15), (0x0400, 0x1p-14), (0x7c00, .infinity), (0xfc00, -.infinity),
      (0x3555, 0.333251953125),
    ]
    for (bits, value) in known { XCTAssertEqual(float(f16: bits), value) }
    XCTAssertTrue(float(f16: 0x7e00).isNaN)
    XCTAssertEqual(float(f16: 0x8000).sign, .minus)
  }

  func testABufferThatIsTooSmallGrows() throws {
    var rooms: [Int] = []
    let text = try filledText(room: 3) { bytes, room, count in
      rooms.append(room)
      count = 3
      if room <= 3 { return 1 }
      for (index, byte) in "abc\0".utf8.enumerated() { bytes?[index] = CChar(bitPattern: byte) }
      return 0
    }
    XCTAssertEqual(text, "abc")
    XCTAssertEqual(rooms, [3, 4])
    XCTAssertThrowsError(try filledText(room: 3) { _, _, _ in 1 })
  }

  func testUnknownNumbers() {
    XCTAssertEqual(SluiceError.Code(9), .internalDefect)
    XCTAssertEqual(SluiceError.Code(77), .unknown(77))
    XCTAssertEqual(FinishReason(2), .cancelled)
    XCTAssertEqual(FinishReason(77), .unknown(77))
  }

  func testTheFirstErrorOfACallbackStays() {
    struct Mine: Error {}
    let callback = Callback()
    XCTAssertEqual(callback.run {}, 0)
    XCTAssertEqual(callback.run { throw Mine() }, 1)
    XCTAssertEqual(callback.run { XCTFail("it is not called any more") }, 1)
    XCTAssertThrowsError(try callback.check(0)) { XCTAssertTrue($0 is Mine) }
  }
}
