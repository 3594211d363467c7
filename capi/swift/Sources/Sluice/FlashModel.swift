import CSluice

/// A model whose feed-forward weights stay on flash storage.
///
/// Any thread may use it, several at once: the library takes care of that. Sessions and backends
/// keep what they need of it, so that they may outlive it.
public final class FlashModel: @unchecked Sendable {
  let handle: OpaquePointer
  let faults: ReaderFaults?

  /// Allocates and reads everything that `options` plan for. Blocks on storage.
  public convenience init(
    path: String, options: ModelOptions = ModelOptions(), progress: ProgressHandler = { _, _ in }
  ) throws {
    try self.init(source: .path(path), options: options, progress: progress)
  }

  /// The same for other places.
  public init(
    source: ModelSource, options: ModelOptions = ModelOptions(),
    progress: ProgressHandler = { _, _ in }
  ) throws {
    let faults = source.faults()
    var opened: OpaquePointer?
    do {
      try withProgress(progress, faults) { userData in
        try options.withC { cOptions in
          try source.withC(faults, taken: true) { cSource in
            sluice_source_open(cSource, cOptions, &opened, onStage, userData)
          }
        }
      }
    } catch {
      // The progress that throws last, when all is there already.
      sluice_model_close(opened)
      throw error
    }
    self.handle = try owned(opened, "model")
    self.faults = faults
  }

  deinit {
    sluice_model_close(handle)
  }

  /// What opening would take; reads no weights. A budget below the floor is no error: `fits` is
  /// false.
  public static func plan(path: String, options: ModelOptions = ModelOptions()) throws
    -> MemoryPlan
  {
    return try plan(source: .path(path), options: options)
  }

  public static func plan(source: ModelSource, options: ModelOptions = ModelOptions()) throws
    -> MemoryPlan
  {
    let faults = source.faults()
    var c = sized(sluice_memory_plan(), \.struct_size)
    try options.withC { cOptions in
      try source.withC(faults, taken: false) { cSource in
        try check(sluice_source_plan(cSource, cOptions, &c), faults)
      }
    }
    return MemoryPlan(c)
  }

  /// The plan that the model was opened with.
  public func plan() throws -> MemoryPlan {
    var c = sized(sluice_memory_plan(), \.struct_size)
    try check(sluice_model_plan_copy(handle, &c))
    return MemoryPlan(c)
  }

  public func info() throws -> ModelInfo {
    var c = sized(sluice_model_info(), \.struct_size)
    try check(sluice_model_info_copy(handle, &c))
    return ModelInfo(c)
  }

  /// Token ids of text; special tokens spelled in it are ordinary text. `badState`: the file has no
  /// tokenizer.
  /// - Parameter addSpecial: with the tokenizer's special tokens around.
  public func tokenize(_ text: String, addSpecial: Bool = false) throws -> [Int32] {
    // Seldom more tokens than bytes and a few; the second round has room for certain.
    var room = text.utf8.count + 8
    while true {
      var tokens = [Int32](repeating: 0, count: room)
      var count = 0
      let status = withText(text) { bytes, length in
        sluice_model_tokenize(handle, bytes, length, addSpecial ? 1 : 0, &tokens, room, &count)
      }
      if count > room {
        room = count
        continue
      }
      try check(status)
      return Array(tokens.prefix(count))
    }
  }

  public func detokenize(_ tokens: [Int32]) throws -> String {
    return try filledText(room: 8 * tokens.count + 64) { bytes, room, count in
      sluice_model_detokenize(handle, tokens, tokens.count, bytes, room, &count)
    }
  }

  /// A session at position 0. `badState`: all `maxSessions` are taken.
  public func makeSession() throws -> Session {
    return try Session(model: self)
  }

  /// The feed-forward layers alone. `badState`: all `maxSessions` are taken.
  public func makeBackend() throws -> Backend {
    return try Backend(model: self)
  }
}
