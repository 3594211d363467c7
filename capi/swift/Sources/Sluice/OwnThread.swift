import Foundation

/// Runs a call that blocks on a thread of its own, so that it holds none of the threads that all of
/// a program's tasks share:
///
///     let model = try await onOwnThread { try FlashModel(path: path) }
///
/// - Parameter onCancel: runs at once when the task is cancelled; for example
///   `{ session.cancel() }`. Without it the call runs to its end.
public func onOwnThread<R: Sendable>(
  _ body: @escaping @Sendable () throws -> R,
  onCancel: @escaping @Sendable () -> Void = {}
) async throws -> R {
  return try await withTaskCancellationHandler {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<R, any Error>) in
      Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
  } onCancel: {
    onCancel()
  }
}
