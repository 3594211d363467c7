import CSluice

/// What the callbacks of one generation share. The library calls them one at a time.
final class Generation: Callback {
  private let put: (Token) throws -> Void
  private let onLogits: GenerateOptions.LogitsHandler?
  private var logprob: Float?
  private var top: [TokenLogprob] = []

  /// `put` gets each token; what it throws stops.
  init(_ options: GenerateOptions, _ put: @escaping (Token) throws -> Void) {
    self.put = put
    onLogits = options.onLogits
  }

  fileprivate func change(_ logits: UnsafeMutableBufferPointer<Float>, _ position: Int) -> Int32 {
    return run { try onLogits?(logits, position) }
  }

  /// For the token that follows.
  fileprivate func keep(_ logprob: Float, _ top: [TokenLogprob]) {
    self.logprob = logprob
    self.top = top
  }

  fileprivate func take(_ id: Int32, _ text: String) -> Int32 {
    let token = Token(id: id < 0 ? nil : id, text: text, logprob: logprob, top: top)
    logprob = nil
    top = []
    return run { try put(token) }
  }

  /// Generates on this thread. `raw` is a session that is free.
  func generate(
    _ raw: OpaquePointer, _ prompt: Prompt, _ options: GenerateOptions, _ faults: ReaderFaults?
  ) throws -> FinishReason {
    var reason = Int32(SLUICE_FINISH_CANCELLED)
    try options.withC(userData) { cOptions in
      let status: sluice_status
      switch prompt {
      case .text(let text):
        status = withText(text) { bytes, count in
          sluice_session_generate(
            raw, bytes, count, cOptions, &reason, onGeneratedToken, userData)
        }
      case .tokens(let tokens):
        status = sluice_session_generate_tokens(
          raw, tokens, tokens.count, cOptions, &reason, onGeneratedToken, userData)
      }
      try check(status, faults)
    }
    return FinishReason(reason)
  }
}

/// A sluice_logits_fn.
func onGeneratedLogits(
  _ logits: UnsafeMutablePointer<Float>?, _ count: Int, _ position: UInt32,
  _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let generation = Generation.from(userData) else { return 1 }
  return generation.change(
    UnsafeMutableBufferPointer(start: logits, count: count), Int(position))
}

/// A sluice_logprobs_fn.
func onGeneratedLogprobs(
  _ chosen: UnsafePointer<sluice_token_logprob>?, _ top: UnsafePointer<sluice_token_logprob>?,
  _ count: Int, _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let generation = Generation.from(userData), let chosen = chosen else { return 1 }
  let likeliest = UnsafeBufferPointer(start: top, count: count)
  generation.keep(chosen.pointee.logprob, likeliest.map { TokenLogprob($0) })
  return 0
}

/// A sluice_token_fn.
func onGeneratedToken(
  _ token: Int32, _ text: UnsafePointer<CChar>?, _ bytes: Int,
  _ userData: UnsafeMutableRawPointer?
) -> Int32 {
  guard let generation = Generation.from(userData) else { return 1 }
  let start = text.map { UnsafeRawPointer($0) }
  let chunk = String(decoding: UnsafeRawBufferPointer(start: start, count: bytes), as: UTF8.self)
  return generation.take(token, chunk)
}
