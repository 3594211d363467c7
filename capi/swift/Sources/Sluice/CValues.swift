import Foundation

/// A struct of the C ABI that states its size, for C to fill in.
func sized<T>(_ value: T, _ size: WritableKeyPath<T, UInt32>) -> T {
  var value = value
  value[keyPath: size] = UInt32(MemoryLayout<T>.stride)
  return value
}

/// For a member of a C struct; `name` is for the message when it does not fit.
func unsigned<T: FixedWidthInteger & UnsignedInteger>(_ value: Int, _ name: String) throws -> T {
  guard let exact = T(exactly: value) else {
    throw SluiceError(.invalidArgument, "\(name) is \(value), not in 0 to \(T.max)")
  }
  return exact
}

/// UTF-8 without a NUL, for C functions that are told its length.
func withText<R>(_ text: String, _ body: (UnsafePointer<CChar>?, Int) throws -> R) rethrows -> R {
  var text = text
  return try text.withUTF8 { bytes in
    try bytes.withMemoryRebound(to: CChar.self) { try body($0.baseAddress, $0.count) }
  }
}

/// Text of a C array of characters inside a struct, which Swift sees as a tuple.
func text<T>(ofTuple tuple: T) -> String {
  return withUnsafeBytes(of: tuple) { bytes in
    String(decoding: bytes.prefix(while: { $0 != 0 }), as: UTF8.self)
  }
}

/// The text that `fill` writes into a buffer. It gets the buffer and its size, at first `room`, and
/// says in any case how many bytes the text has without its NUL; when they do not fit, it is called
/// again.
func filledText(
  room: Int, _ fill: (UnsafeMutablePointer<CChar>?, Int, inout Int) -> Int32
) throws -> String {
  var room = room
  while true {
    var bytes = [CChar](repeating: 0, count: room)
    var count = 0
    let status = bytes.withUnsafeMutableBufferPointer { fill($0.baseAddress, room, &count) }
    if count >= room {
      room = count + 1
      continue
    }
    try check(status)
    return bytes.withUnsafeBytes { String(decoding: $0.prefix(count), as: UTF8.self) }
  }
}

/// NUL-terminated strings for C, as long as this lives.
final class CStrings {
  private let count: Int
  private let pointers: UnsafeMutablePointer<UnsafePointer<CChar>?>

  /// `what` is for the message when one has a NUL inside: C would end it there.
  init(_ strings: [String], _ what: String) throws {
    for string in strings where string.utf8.contains(0) {
      throw SluiceError(.invalidArgument, "\(what) contains a NUL")
    }
    count = strings.count
    pointers = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: count + 1)
    for index in 0..<count {
      let copy: UnsafeMutablePointer<CChar>? = strdup(strings[index])
      (pointers + index).initialize(to: UnsafePointer<CChar>(copy))
    }
    (pointers + count).initialize(to: nil)
  }

  /// None or one.
  convenience init(_ string: String?, _ what: String) throws {
    try self.init(string.map { [$0] } ?? [], what)
  }

  deinit {
    for index in 0..<count {
      free(UnsafeMutablePointer<CChar>(mutating: pointers[index]))
    }
    pointers.deinitialize(count: count + 1)
    pointers.deallocate()
  }

  /// nil when there are none.
  var array: UnsafePointer<UnsafePointer<CChar>?>? {
    return count == 0 ? nil : UnsafePointer<UnsafePointer<CChar>?>(pointers)
  }

  /// nil when there are none.
  var first: UnsafePointer<CChar>? { return pointers[0] }

  subscript(index: Int) -> UnsafePointer<CChar>? { return pointers[index] }
}

/// A path for one call.
func withPath<R>(_ path: String, _ body: (UnsafePointer<CChar>?) throws -> R) throws -> R {
  let strings = try CStrings(path, "a path")
  return try withExtendedLifetime(strings) { try body(strings.first) }
}
