import CSluice

/// Why a call failed.
public struct SluiceError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Newer libraries may know more codes: `unknown` has their number.
  public enum Code: Hashable, Sendable {
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
  /// What a `ModelReader` threw, where that is why the call failed.
  public let cause: (any Error)?

  public var description: String {
    guard let cause = cause else { return "\(code): \(message)" }
    return "\(code): \(message) (\(cause))"
  }

  init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  /// Causes are not compared.
  public static func == (left: SluiceError, right: SluiceError) -> Bool {
    return left.code == right.code && left.message == right.message
  }
}

extension SluiceError.Code {
  init(_ status: sluice_status) {
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

/// The message belongs to the thread: this must follow the call without an await between.
///   - faults: those of the model's reader, if it has one, which may be why
func check(_ status: sluice_status, _ faults: ReaderFaults? = nil) throws {
  if isOK(status) { return }
  throw failure(status, String(cString: sluice_last_error_message()), faults)
}

func failure(_ status: sluice_status, _ message: String, _ faults: ReaderFaults?) -> SluiceError {
  let code = SluiceError.Code(status)
  switch code {
  case .invalidArgument, .badState, .cancelled:
    // Not for want of bytes.
    return SluiceError(code, message)
  default:
    return SluiceError(code, message, cause: faults?.take())
  }
}

/// A handle that C has given out.
func owned(_ handle: OpaquePointer?, _ what: String) throws -> OpaquePointer {
  guard let handle = handle else { throw SluiceError(.internalDefect, "no \(what) was made") }
  return handle
}
