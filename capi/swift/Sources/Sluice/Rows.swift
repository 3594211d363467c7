import CSluice

/// What the numbers of a row are.
public enum ElementType: Int32, Sendable {
  case f32 = 0
  /// IEEE 754, 16 bits.
  case f16 = 1
  /// The upper halves of f32's bits.
  case bf16 = 2

  var bytes: Int { return self == .f32 ? 4 : 2 }
}

/// The rows of neurons that a backend holds in memory, in the order they were asked for. Valid in
/// the closure of `Backend.withRows` only.
public struct Rows {
  let up: [UnsafeRawPointer?]
  let down: [UnsafeRawPointer?]
  let element: ElementType
  let width: Int

  public var count: Int { return up.count }

  /// The up projection's row of the neuron at `index` of those asked for.
  public func up(_ index: Int) -> Row { return row(up[index]) }

  /// The down projection's column of the neuron at `index` of those asked for.
  public func down(_ index: Int) -> Row { return row(down[index]) }

  private func row(_ start: UnsafeRawPointer?) -> Row {
    let bytes = UnsafeRawBufferPointer(start: start, count: width * element.bytes)
    return Row(element: element, bytes: bytes)
  }
}

/// One row, dModel numbers as they lie in the file. Valid as long as the `Rows` that it is of.
public struct Row {
  public let element: ElementType
  public let bytes: UnsafeRawBufferPointer

  /// The numbers as 32-bit floats, exactly; a copy that stays.
  public func floats() -> [Float] {
    switch element {
    case .f32: return Array(bytes.bindMemory(to: Float.self))
    case .f16: return bytes.bindMemory(to: UInt16.self).map { float(f16: $0) }
    case .bf16:
      return bytes.bindMemory(to: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
    }
  }
}

/// Float16 is not there on every platform.
func float(f16 bits: UInt16) -> Float {
  let sign: Float = bits & 0x8000 == 0 ? 1 : -1
  let exponent = Int(bits >> 10) & 0x1f
  let fraction = Float(bits & 0x3ff)
  switch exponent {
  case 0: return sign * fraction * 0x1p-24
  case 0x1f: return fraction == 0 ? sign * .infinity : .nan
  default: return sign * Float(sign: .plus, exponent: exponent - 25, significand: 1024 + fraction)
  }
}

/// What a feed-forward layer is.
public struct LayerInfo: Sendable {
  public let dModel: Int
  public let dFFN: Int
  /// Of the rows; nil: one of a newer library's.
  public let element: ElementType?
  /// So many neighbouring neurons are read together.
  public let neuronsPerRecord: Int
  public let numRecords: Int
  /// Records that can be held at one time.
  public let numSlots: Int
  public let hasPredictor: Bool
  /// `Backend.hint` does something.
  public let hasLookahead: Bool
  /// dFFN values, by neuron id, if the layer has any.
  public let upBias: [Float]?
  /// dModel values, if the layer has any.
  public let downBias: [Float]?

  init(_ c: sluice_layer_info) {
    dModel = Int(c.d_model)
    dFFN = Int(c.d_ffn)
    element = ElementType(rawValue: c.element)
    neuronsPerRecord = Int(c.neurons_per_record)
    numRecords = Int(c.num_records)
    numSlots = Int(c.num_slots)
    hasPredictor = c.has_predictor != 0
    hasLookahead = c.has_lookahead != 0
    upBias = c.up_bias.map { Array(UnsafeBufferPointer(start: $0, count: Int(c.d_ffn))) }
    downBias = c.down_bias.map { Array(UnsafeBufferPointer(start: $0, count: Int(c.d_model))) }
  }
}

/// Sums since a backend was made.
public struct BackendStats: Equatable, Sendable {
  /// Reads bypass the page cache.
  public let directIO: Bool
  /// That went through a layer, summed over layers.
  public let tokens: Int
  public let recordsNeeded: Int
  /// Of those, not in DRAM.
  public let recordsMissing: Int
  /// Requests to storage.
  public let reads: Int
  /// From storage.
  public let bytes: Int
  public let neuronsPredicted: Int
  /// Of those that were computed here, with non-zero output.
  public let neuronsActive: Int
  /// Waited for reads.
  public let ioMs: Double
  /// In forward, withRows and predict.
  public let totalMs: Double

  init(_ c: sluice_backend_stats) {
    directIO = c.direct_io != 0
    tokens = Int(clamping: c.tokens)
    recordsNeeded = Int(clamping: c.records_needed)
    recordsMissing = Int(clamping: c.records_missing)
    reads = Int(clamping: c.reads)
    bytes = Int(clamping: c.bytes)
    neuronsPredicted = Int(clamping: c.neurons_predicted)
    neuronsActive = Int(clamping: c.neurons_active)
    ioMs = c.io_ms
    totalMs = c.total_ms
  }
}
