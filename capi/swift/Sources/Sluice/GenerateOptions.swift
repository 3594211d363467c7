import CSluice

/// How text is generated. Zero always means "default".
public struct GenerateOptions: Sendable {
  /// Gets the logits of the token that is about to be chosen, before penalty and temperature, and
  /// may change them (`-.infinity` forbids a token); `position` is that token's. They are valid
  /// during the call. What it throws stops the generation and comes out of it.
  public typealias LogitsHandler =
    @Sendable (_ logits: UnsafeMutableBufferPointer<Float>, _ position: Int) throws -> Void

  /// 0: 128.
  public var maxTokens = 0
  /// 0: always the most likely token.
  public var temperature: Float = 0
  /// 0: off.
  public var topK = 0
  /// 0 or 1: off.
  public var topP: Float = 0
  /// 0: off.
  public var minP: Float = 0
  /// 0 or 1: off.
  public var repetitionPenalty: Float = 0
  public var seed: UInt64 = 0
  /// The text before the first of these is kept.
  public var stop: [String] = []
  /// Goes on past end-of-sequence ids.
  public var ignoreEOS = false
  /// With the tokenizer's special tokens around the prompt.
  public var specialTokens = true
  /// The prompt is all there is, from position 0; what it shares with the tokens that the session
  /// holds is not computed again.
  public var wholePrompt = false
  /// Fills in `Token.logprob`, and `Token.top` with so many of the likeliest tokens, at most 256;
  /// nil: neither.
  public var logprobs: Int?
  /// Runs on the thread that generates. Of its own session it may use `cancel`, `position` and
  /// `stats`.
  public var onLogits: LogitsHandler?

  public init(maxTokens: Int = 0, temperature: Float = 0) {
    self.maxTokens = maxTokens
    self.temperature = temperature
  }

  /// The C struct, for the duration of `body`. `userData` is a `Generation`'s.
  func withC<R>(
    _ userData: UnsafeMutableRawPointer,
    _ body: (UnsafePointer<sluice_generate_options>) throws -> R
  ) throws -> R {
    var c = sluice_generate_options()
    try check(sluice_generate_options_init(&c, MemoryLayout<sluice_generate_options>.stride))
    c.max_tokens = try unsigned(maxTokens, "maxTokens")
    c.temperature = temperature
    c.top_p = topP
    c.min_p = minP
    c.repetition_penalty = repetitionPenalty
    c.top_k = try unsigned(topK, "topK")
    c.ignore_eos = ignoreEOS ? 1 : 0
    c.seed = seed
    c.no_special_tokens = specialTokens ? 0 : 1
    c.whole_prompt = wholePrompt ? 1 : 0
    if let count = logprobs {
      c.top_logprobs = try unsigned(count, "logprobs")
      c.on_logprobs = onGeneratedLogprobs
    }
    if onLogits != nil { c.on_logits = onGeneratedLogits }
    c.sampling_user_data = userData
    let strings = try CStrings(stop, "a stop string")
    c.stop = strings.array
    c.stop_count = stop.count
    return try withExtendedLifetime(strings) { try body(&c) }
  }
}
