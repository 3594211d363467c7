import CSluice

/// Means over the tokens decoded since the session was made or its statistics were reset.
public struct Stats: Equatable, Sendable {
  /// Decoded.
  public let tokens: Int
  /// The sum of the next three.
  public let totalMsPerToken: Double
  /// Compute waited for reads.
  public let ioMsPerToken: Double
  /// Window, slots, read planning.
  public let memoryMsPerToken: Double
  public let computeMsPerToken: Double
  /// Reads in flight.
  public let ioBusyMsPerToken: Double
  /// From storage.
  public let bytesPerToken: Double
  /// Records that had no slot, each counted once.
  public let neededBytesPerToken: Double
  /// Read between needed records: cheaper than another request.
  public let gapBytesPerToken: Double
  public let readsPerToken: Double
  public let meanReadBytes: Double
  public let readGBPerSecond: Double
  /// Needed records that were in DRAM, 0 to 1.
  public let hitRate: Double
  /// Neurons with non-zero output.
  public let activeFraction: Double
  /// Neurons computed.
  public let predictedFraction: Double
  /// That a neuron stays in DRAM unused.
  public let windowTokens: Double
  /// Records forgotten inside a fixed window.
  public let windowForcedEvictions: Int
  /// "on", "off: it did not pay", "none".
  public let lookahead: String
  /// Of the records without a slot, those asked for a layer early.
  public let lookaheadHitRate: Double
  /// Read on a guess that was wrong.
  public let lookaheadWastedBytesPerToken: Double
  public let prefillTokens: Int
  public let prefillMs: Double
  public let prefillBytes: Int
  /// Of prompts: they were in the KV cache already.
  public let reusedTokens: Int
  /// Of the process.
  public let peakRSSBytes: Int
  /// Reads bypass the page cache.
  public let directIO: Bool
  /// "uring", "pread", "host".
  public let engine: String
  /// Why that one.
  public let engineReason: String

  init(_ c: sluice_stats) {
    tokens = Int(clamping: c.tokens)
    totalMsPerToken = c.total_ms_per_token
    ioMsPerToken = c.io_ms_per_token
    memoryMsPerToken = c.memory_ms_per_token
    computeMsPerToken = c.compute_ms_per_token
    ioBusyMsPerToken = c.io_busy_ms_per_token
    bytesPerToken = c.bytes_per_token
    neededBytesPerToken = c.needed_bytes_per_token
    gapBytesPerToken = c.gap_bytes_per_token
    readsPerToken = c.reads_per_token
    meanReadBytes = c.mean_read_bytes
    readGBPerSecond = c.read_gb_per_s
    hitRate = c.hit_rate
    activeFraction = c.active_fraction
    predictedFraction = c.predicted_fraction
    windowTokens = c.window_tokens
    windowForcedEvictions = Int(clamping: c.window_forced_evictions)
    lookahead = text(ofTuple: c.lookahead)
    lookaheadHitRate = c.lookahead_hit_rate
    lookaheadWastedBytesPerToken = c.lookahead_wasted_bytes_per_token
    prefillTokens = Int(clamping: c.prefill_tokens)
    prefillMs = c.prefill_ms
    prefillBytes = Int(clamping: c.prefill_bytes)
    reusedTokens = Int(clamping: c.reused_tokens)
    peakRSSBytes = Int(clamping: c.peak_rss_bytes)
    directIO = c.direct_io != 0
    engine = text(ofTuple: c.engine)
    engineReason = text(ofTuple: c.engine_reason)
  }
}
