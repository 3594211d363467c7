import CSluice
import Foundation

/// The version of the library that is running, as "0.1.0".
public func sluiceVersion() -> String {
  return String(cString: sluice_version())
}

/// The ABI number of the library that is running.
public func sluiceABI() -> Int {
  return Int(sluice_abi())
}

/// The library's few remarks.
public enum SluiceLog {
  public enum Level: Sendable {
    case information
    case warning
  }

  public typealias Handler = @Sendable (_ level: Level, _ text: String) -> Void

  /// Where remarks go from now on, for the whole process; nil drops them, as at the start. May be
  /// called on any thread, one call at a time, and must not call the library.
  public static func setHandler(_ handler: Handler?) {
    current.set(handler)
    sluice_log_set(handler == nil ? nil : onLog, nil)
  }

  fileprivate static let current = Current()

  /// C gets no pointer to the closure: whether a remark is on its way while another one is set need
  /// not be known.
  fileprivate final class Current: @unchecked Sendable {
    private let lock = NSLock()
    private var handler: Handler?

    func set(_ handler: Handler?) {
      lock.lock()
      let before = self.handler
      self.handler = handler
      lock.unlock()
      // Outside the lock: it may own things of the host's.
      withExtendedLifetime(before) {}
    }

    func get() -> Handler? {
      lock.lock()
      defer { lock.unlock() }
      return handler
    }
  }
}

private func onLog(_ level: Int32, _ text: UnsafePointer<CChar>?, _: UnsafeMutableRawPointer?) {
  guard let handler = SluiceLog.current.get() else { return }
  handler(level == 0 ? .information : .warning, text.map { String(cString: $0) } ?? "")
}
