import CSluice

/// The version of the library that is running, as "0.1.0".
public func sluiceVersion() -> String {
  return String(cString: sluice_version())
}

/// A model whose feed-forward weights stay on flash storage.
///
/// Any thread may use it, several at once: the library takes care of that. Sessions and backends
/// keep what they need of it, so that they may outlive it.
public final class FlashModel: @unchecked Sendable {
  let handle: OpaquePointer

  /// Allocates and reads everything that `options` plan for. Blocks on storage.
  public init(path: String, options: ModelOptions = ModelOptions()) throws {
    var opened: OpaquePointer?
    try options.withC { cOptions in
      try check(sluice_model_open(path, cOptions, &opened))
    }
    guard let handle = opened else {
      throw SluiceError(status: sluice_status(SLUICE_INTERNAL), message: "no model was opened")
    }
    self.handle = handle
  }

  deinit {
    sluice_model_close(handle)
  }

  /// What opening would take; reads no weights. A budget below the floor is no error: `fits` is
  /// false.
  public static func plan(path: String, options: ModelOptions = ModelOptions()) throws
    -> MemoryPlan
  {
    var c = sluice_memory_plan()
    c.struct_size = UInt32(MemoryLayout<sluice_memory_plan>.stride)
    try options.withC { cOptions in
      try check(sluice_model_plan(path, cOptions, &c))
    }
    return MemoryPlan(c)
  }

  /// The plan that the model was opened with.
  public func plan() throws -> MemoryPlan {
    var c = sluice_memory_plan()
    c.struct_size = UInt32(MemoryLayout<sluice_memory_plan>.stride)
    try check(sluice_model_plan_copy(handle, &c))
    return MemoryPlan(c)
  }

  public func info() throws -> ModelInfo {
    var c = sluice_model_info()
    c.struct_size = UInt32(MemoryLayout<sluice_model_info>.stride)
    try check(sluice_model_info_copy(handle, &c))
    return ModelInfo(c)
  }

  /// Token ids of text; special tokens spelled in it are ordinary text.
  public func tokenize(_ text: String, addSpecial: Bool = false) throws -> [Int32] {
    let bytes = Array(text.utf8CString)
    // A byte is at most one token; the special ones come on top.
    var tokens = [Int32](repeating: 0, count: bytes.count + 16)
    var count = 0
    let capacity = tokens.count
    let status = sluice_model_tokenize(
      handle, bytes, bytes.count - 1, addSpecial ? 1 : 0, &tokens, capacity, &count)
    try check(status)
    return Array(tokens.prefix(count))
  }

  public func detokenize(_ tokens: [Int32]) throws -> String {
    // Seldom more bytes than that; otherwise the count says how many for the second round.
    var bytes = [CChar](repeating: 0, count: 8 * tokens.count + 64)
    while true {
      var count = 0
      let capacity = bytes.count
      let status = sluice_model_detokenize(
        handle, tokens, tokens.count, &bytes, capacity, &count)
      if count >= capacity {
        bytes = [CChar](repeating: 0, count: count + 1)
        continue
      }
      try check(status)
      return bytes.withUnsafeBytes { String(decoding: $0.prefix(count), as: UTF8.self) }
    }
  }

  public func makeSession() throws -> Session {
    return try Session(model: self)
  }
}
