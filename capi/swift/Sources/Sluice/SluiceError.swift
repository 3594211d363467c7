import CSluice

/// Why a call failed.
public struct SluiceError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Newer libraries may know more codes: `unknown` has their number.
  public enum Code: Equatable, Sendable {
    /// The caller's mistake; nothing has changed.
    case invalidArgument
    case notFound
    /// Storage failed, or refused.
    case io
    /// The file is damaged; the message names the place.
    case corrupt
    /// A form that this version does not read or run.
    case unsupported
    /// Also: the budget is below the floor.
    case outOfMemory
    /// Not now: a call on this session runs, all sessions are taken, ...
    case badState
    case cancelled
    /// A defect of Sluice's: close the session.
    case internalDefect
    case unknown(Int32)
  }

  public let code: Code
  /// For people; its wording is not promised.
  public let message: String

  public var description: String { "\(code): \(message)" }

  init(status: sluice_status, message: String) {
    self.code = Code(status: status)
    self.message = message
  }
}

extension SluiceError.Code {
  init(status: sluice_status) {
    switch Int(status) {
    case Int(SLUICE_INVALID_ARGUMENT): self = .invalidArgument
    case Int(SLUICE_NOT_FOUND): self = .notFound
    case Int(SLUICE_IO): self = .io
    case Int(SLUICE_CORRUPT): self = .corrupt
    case Int(SLUICE_UNSUPPORTED): self = .unsupported
    case Int(SLUICE_OUT_OF_MEMORY): self = .outOfMemory
    case Int(SLUICE_BAD_STATE): self = .badState
    case Int(SLUICE_CANCELLED): self = .cancelled
    case Int(SLUICE_INTERNAL): self = .internalDefect
    default: self = .unknown(status)
    }
  }
}

func isOK(_ status: sluice_status) -> Bool {
  return Int(status) == Int(SLUICE_OK)
}

/// The message belongs to the thread: this must follow the failed call without an await between.
func lastError(_ status: sluice_status) -> SluiceError {
  return SluiceError(status: status, message: String(cString: sluice_last_error_message()))
}

func check(_ status: sluice_status) throws {
  if !isOK(status) { throw lastError(status) }
}

/// Text of a C array of characters inside a struct, which Swift sees as a tuple.
func text<T>(ofTuple tuple: T) -> String {
  return withUnsafeBytes(of: tuple) { bytes in
    String(decoding: bytes.prefix(while: { $0 != 0 }), as: UTF8.self)
  }
}
