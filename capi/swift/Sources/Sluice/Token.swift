import CSluice

/// A token, and how likely it was.
public struct TokenLogprob: Equatable, Sendable {
  public let id: Int32
  /// Natural logarithm of its probability, before penalty and temperature.
  public let logprob: Float

  public init(id: Int32, logprob: Float) {
    self.id = id
    self.logprob = logprob
  }

  init(_ c: sluice_token_logprob) {
    id = c.token
    logprob = c.logprob
  }
}

/// A generated token.
public struct Token: Equatable, Sendable {
  /// nil when only held-back text is left to give.
  public let id: Int32?
  /// Whole characters, often none: incomplete ones and a possible beginning of a stop string are
  /// held back.
  public let text: String
  /// With `GenerateOptions.logprobs`.
  public let logprob: Float?
  /// The likeliest tokens, likeliest first, as many as `GenerateOptions.logprobs` asked for.
  public let top: [TokenLogprob]

  /// For tests of a host's that stand in for a model.
  public init(id: Int32?, text: String, logprob: Float? = nil, top: [TokenLogprob] = []) {
    self.id = id
    self.text = text
    self.logprob = logprob
    self.top = top
  }
}

/// Why a generation ended.
public enum FinishReason: Hashable, Sendable {
  /// An end-of-sequence id or a stop string.
  case stop
  case length
  case cancelled
  case unknown(Int32)

  init(_ number: Int32) {
    switch Int(number) {
    case Int(SLUICE_FINISH_STOP): self = .stop
    case Int(SLUICE_FINISH_LENGTH): self = .length
    case Int(SLUICE_FINISH_CANCELLED): self = .cancelled
    default: self = .unknown(number)
    }
  }
}

/// What a generation begins with.
enum Prompt: Sendable {
  case text(String)
  case tokens([Int32])
}
