import CSluice
import Foundation

/// Bytes that the host reads itself: an archive, an encrypted file, a network.
public protocol ModelReader: Sendable {
  /// Reads up to `buffer.count` bytes at `offset`.
  ///
  /// Called on several of the library's threads at once; must not use the model that it reads. What
  /// it throws is the `cause` of the error of the call that needed the bytes; a `POSIXError` passes
  /// its number on.
  /// - Returns: how many; fewer are asked for again. 0 only at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int
}

/// Where a bundle file's bytes are.
public struct ModelSource: Sendable {
  private enum Kind: Sendable {
    case path(String)
    case descriptor(Int32, offset: Int, bytes: Int)
    case reader(any ModelReader, bytes: Int, threads: Int)
  }

  private let kind: Kind
  private let name: String?

  public static func path(_ path: String) -> ModelSource {
    return ModelSource(kind: .path(path), name: nil)
  }

  /// A regular file that is open for reading, or a part of it: `bytes` bytes from `offset` on, to
  /// its end when that is 0. Reads bypass the page cache only where `offset` is a multiple of 4096.
  /// The descriptor is duplicated: it may be closed after the call.
  /// - Parameter name: what messages call it.
  public static func descriptor(
    _ descriptor: Int32, offset: Int = 0, bytes: Int = 0, name: String? = nil
  ) -> ModelSource {
    return ModelSource(kind: .descriptor(descriptor, offset: offset, bytes: bytes), name: name)
  }

  /// `bytes` bytes behind a reader, which is kept until nothing reads any more.
  /// - Parameters:
  ///   - threads: calls of the reader at one time, at most 64; 0: 4.
  ///   - name: what messages call it.
  public static func reader(
    _ reader: any ModelReader, bytes: Int, threads: Int = 0, name: String? = nil
  ) -> ModelSource {
    return ModelSource(kind: .reader(reader, bytes: bytes, threads: threads), name: name)
  }

  /// The C struct, for the duration of `body`.
  ///   - faults: what a reader's errors are kept in; ModelSource.faults().
  ///   - taken: `body` leaves the reader to C, which releases it.
  func withC<R>(
    _ faults: ReaderFaults?, taken: Bool,
    _ body: (UnsafePointer<sluice_source>) throws -> R
  ) throws -> R {
    var c = sluice_source()
    try check(sluice_source_init(&c, MemoryLayout<sluice_source>.stride))
    var text = name
    var box: ReaderBox?
    switch kind {
    case .path(let path):
      c.kind = Int32(SLUICE_SOURCE_PATH)
      text = path
    case .descriptor(let descriptor, let offset, let bytes):
      c.kind = Int32(SLUICE_SOURCE_FD)
      c.fd = descriptor
      c.offset = try unsigned(offset, "offset")
      c.bytes = try unsigned(bytes, "bytes")
    case .reader(let reader, let bytes, let threads):
      c.kind = Int32(SLUICE_SOURCE_READER)
      c.bytes = try unsigned(bytes, "bytes")
      c.read_threads = try unsigned(threads, "threads")
      c.read = onRead
      c.release = onRelease
      box = ReaderBox(reader, faults)
    }
    let strings = try CStrings(text, "a source's path or name")
    c.path = strings.first
    // Nothing throws from here to the call: C releases what it is given.
    if let box = box { c.user_data = Unmanaged.passRetained(box).toOpaque() }
    defer { if !taken, c.user_data != nil { onRelease(c.user_data) } }
    return try withExtendedLifetime(strings) { try body(&c) }
  }

  /// nil where C reads by itself.
  func faults() -> ReaderFaults? {
    guard case .reader = kind else { return nil }
    return ReaderFaults()
  }
}

/// Where errors of a reader are kept. It runs on threads of the library's, for whichever call needs
/// the bytes.
final class ReaderFaults: @unchecked Sendable {
  private let lock = NSLock()
  private var last: (any Error)?

  func keep(_ error: any Error) {
    lock.lock()
    defer { lock.unlock() }
    last = error
  }

  /// For the call that has failed; the next one begins without.
  func take() -> (any Error)? {
    lock.lock()
    defer { lock.unlock() }
    let taken = last
    last = nil
    return taken
  }
}

/// What C's callbacks get; onRelease() lets it go.
private final class ReaderBox {
  let reader: any ModelReader
  let faults: ReaderFaults?

  init(_ reader: any ModelReader, _ faults: ReaderFaults?) {
    self.reader = reader
    self.faults = faults
  }

  /// How many bytes, or a negative errno.
  func read(_ offset: UInt64, _ buffer: UnsafeMutableRawBufferPointer) -> Int64 {
    do {
      let count = try reader.read(into: buffer, at: offset)
      guard (0...buffer.count).contains(count) else {
        throw SluiceError(.invalidArgument, "a reader gave \(count) of \(buffer.count) bytes")
      }
      return Int64(count)
    } catch {
      faults?.keep(error)
      return -Int64((error as? POSIXError)?.code.rawValue ?? EIO)
    }
  }
}

private func onRead(
  _ offset: UInt64, _ buffer: UnsafeMutableRawPointer?, _ bytes: Int,
  _ userData: UnsafeMutableRawPointer?
) -> Int64 {
  guard let userData = userData else { return -Int64(EIO) }
  let box = Unmanaged<ReaderBox>.fromOpaque(userData).takeUnretainedValue()
  return box.read(offset, UnsafeMutableRawBufferPointer(start: buffer, count: bytes))
}

private func onRelease(_ userData: UnsafeMutableRawPointer?) {
  guard let userData = userData else { return }
  Unmanaged<ReaderBox>.fromOpaque(userData).release()
}
