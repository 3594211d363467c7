//! How text is generated.
use crate::callback::Flow;
use crate::error::Result;
use crate::text::{c_text, struct_size};
use sluice_sys as sys;
use std::ffi::CString;
use std::fmt;
use std::os::raw::c_char;
use std::sync::{Arc, Mutex};

/// Looks at logits and says whether to stop.
pub(crate) type LogitsFn = dyn FnMut(&mut [f32], u32) -> bool + Send;

/// How text is generated. What is not set has its default; 0 is "off", or the default too.
///
/// ```
/// use sluice::GenerateOptions;
/// let options = GenerateOptions::new().max_tokens(60).temperature(0.8).top_p(0.95).seed(7);
/// ```
#[derive(Clone, Default)]
pub struct GenerateOptions {
    max_tokens: u32,
    temperature: f32,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    top_k: u32,
    ignore_eos: bool,
    seed: u64,
    stop: Vec<String>,
    no_special_tokens: bool,
    whole_prompt: bool,
    logprobs: Option<u32>,
    on_logits: Option<Arc<Mutex<LogitsFn>>>,
}

impl GenerateOptions {
    /// All defaults: 128 tokens, greedy.
    pub fn new() -> GenerateOptions {
        GenerateOptions::default()
    }

    /// Tokens at most. Default: 128.
    pub fn max_tokens(mut self, tokens: u32) -> GenerateOptions {
        self.max_tokens = tokens;
        self
    }

    /// How far choices stray from the likeliest token. Default: 0, greedy.
    pub fn temperature(mut self, temperature: f32) -> GenerateOptions {
        self.temperature = temperature;
        self
    }

    /// Chooses among the likeliest tokens that make up this probability together.
    pub fn top_p(mut self, top_p: f32) -> GenerateOptions {
        self.top_p = top_p;
        self
    }

    /// Chooses among tokens at least this many times as likely as the likeliest.
    pub fn min_p(mut self, min_p: f32) -> GenerateOptions {
        self.min_p = min_p;
        self
    }

    /// Makes tokens that were there already less likely. 0 or 1: off.
    pub fn repetition_penalty(mut self, penalty: f32) -> GenerateOptions {
        self.repetition_penalty = penalty;
        self
    }

    /// Chooses among so many likeliest tokens.
    pub fn top_k(mut self, top_k: u32) -> GenerateOptions {
        self.top_k = top_k;
        self
    }

    /// Goes on past end-of-sequence tokens.
    pub fn ignore_eos(mut self, ignore: bool) -> GenerateOptions {
        self.ignore_eos = ignore;
        self
    }

    /// Of the choices, where they are not greedy.
    pub fn seed(mut self, seed: u64) -> GenerateOptions {
        self.seed = seed;
        self
    }

    /// Adds a text that ends the generation; what comes before it is kept.
    pub fn stop(mut self, text: impl Into<String>) -> GenerateOptions {
        self.stop.push(text.into());
        self
    }

    /// Whether the tokenizer's special tokens are put around the prompt. Default: yes.
    pub fn special_tokens(mut self, special_tokens: bool) -> GenerateOptions {
        self.no_special_tokens = !special_tokens;
        self
    }

    /// Whether the prompt is all there is, from position 0. What it shares with the tokens that the
    /// session holds is not computed again, and the rest is dropped. Default: no, the prompt goes
    /// on from the session's position.
    pub fn whole_prompt(mut self, whole_prompt: bool) -> GenerateOptions {
        self.whole_prompt = whole_prompt;
        self
    }

    /// Fills in [`Token::logprob`](crate::Token::logprob) and, with the `top_count` likeliest
    /// tokens (at most 256), [`Token::top`](crate::Token::top).
    pub fn logprobs(mut self, top_count: u32) -> GenerateOptions {
        self.logprobs = Some(top_count);
        self
    }

    /// Gives `on_logits` the logits of the token that is about to be chosen and its position,
    /// before penalty and temperature. It may change them; negative infinity forbids a token. It
    /// runs on a thread of the library's under
    /// [`Session::generate_iter`](crate::Session::generate_iter), and must not generate with these
    /// same options. Copies of the options share it.
    pub fn on_logits<F, R>(mut self, mut on_logits: F) -> GenerateOptions
    where
        F: FnMut(&mut [f32], u32) -> R + Send + 'static,
        R: Flow,
    {
        let stops = move |logits: &mut [f32], position: u32| on_logits(logits, position).stops();
        self.on_logits = Some(Arc::new(Mutex::new(stops)));
        self
    }

    pub(crate) fn logits_fn(&self) -> Option<Arc<Mutex<LogitsFn>>> {
        self.on_logits.clone()
    }

    /// The C struct, without its callbacks.
    pub(crate) fn lower(&self) -> Result<LoweredGenerateOptions> {
        let texts = self
            .stop
            .iter()
            .map(|text| c_text(text, "a stop string"))
            .collect::<Result<Vec<_>>>()?;
        let pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        let raw = sys::sluice_generate_options {
            struct_size: struct_size::<sys::sluice_generate_options>(),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            top_k: self.top_k,
            ignore_eos: u32::from(self.ignore_eos),
            seed: self.seed,
            stop: if pointers.is_empty() { std::ptr::null() } else { pointers.as_ptr() },
            stop_count: pointers.len(),
            no_special_tokens: u32::from(self.no_special_tokens),
            whole_prompt: u32::from(self.whole_prompt),
            top_logprobs: self.logprobs.unwrap_or(0),
            ..Default::default()
        };
        let wants_logprobs = self.logprobs.is_some();
        Ok(LoweredGenerateOptions { raw, wants_logprobs, _texts: texts, _pointers: pointers })
    }
}

impl fmt::Debug for GenerateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerateOptions")
            .field("max_tokens", &self.max_tokens)
            .field("temperature", &self.temperature)
            .field("top_p", &self.top_p)
            .field("min_p", &self.min_p)
            .field("repetition_penalty", &self.repetition_penalty)
            .field("top_k", &self.top_k)
            .field("ignore_eos", &self.ignore_eos)
            .field("seed", &self.seed)
            .field("stop", &self.stop)
            .field("special_tokens", &!self.no_special_tokens)
            .field("whole_prompt", &self.whole_prompt)
            .field("logprobs", &self.logprobs)
            .field("on_logits", &self.on_logits.is_some())
            .finish()
    }
}

/// The C struct, and what it points to.
pub(crate) struct LoweredGenerateOptions {
    pub(crate) raw: sys::sluice_generate_options,
    pub(crate) wants_logprobs: bool,
    _texts: Vec<CString>,
    _pointers: Vec<*const c_char>,
}
