//! Generating: prompts, tokens, and the callbacks that both ways of generating share.
use crate::callback::{caught, lock, Payload};
use crate::generate_options::{GenerateOptions, LogitsFn, LoweredGenerateOptions};
use sluice_sys as sys;
use std::os::raw::{c_char, c_void};
use std::slice;
use std::sync::{Arc, Mutex};

/// What generation begins with: text, or token ids.
#[derive(Clone, Copy, Debug)]
pub enum Prompt<'a> {
    /// For the model's tokenizer.
    Text(&'a str),
    /// Ids; without a tokenizer, the texts that come out are empty.
    Tokens(&'a [i32]),
}

impl<'a> From<&'a str> for Prompt<'a> {
    fn from(text: &'a str) -> Prompt<'a> {
        Prompt::Text(text)
    }
}

impl<'a> From<&'a String> for Prompt<'a> {
    fn from(text: &'a String) -> Prompt<'a> {
        Prompt::Text(text)
    }
}

impl<'a> From<&'a [i32]> for Prompt<'a> {
    fn from(tokens: &'a [i32]) -> Prompt<'a> {
        Prompt::Tokens(tokens)
    }
}

impl<'a> From<&'a Vec<i32>> for Prompt<'a> {
    fn from(tokens: &'a Vec<i32>) -> Prompt<'a> {
        Prompt::Tokens(tokens)
    }
}

/// A token, and how likely it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Its id.
    pub token: i32,
    /// Natural logarithm of its probability, before penalty and temperature.
    pub logprob: f32,
}

/// A generated token.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id; none when only held-back text is left to give.
    pub id: Option<i32>,
    /// Whole characters, often none: incomplete ones and a possible beginning of a stop string are
    /// held back.
    pub text: String,
    /// With [`GenerateOptions::logprobs`].
    pub logprob: Option<f32>,
    /// The likeliest tokens, likeliest first, as many as [`GenerateOptions::logprobs`] asked for.
    pub top: Vec<TokenLogprob>,
}

/// Why generation ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token, or a stop string.
    Stop,
    /// `max_tokens`.
    Length,
    /// A callback, or a [`CancelHandle`](crate::CancelHandle).
    Cancelled,
}

impl FinishReason {
    pub(crate) fn of(number: i32) -> FinishReason {
        match number as u32 {
            sys::SLUICE_FINISH_STOP => FinishReason::Stop,
            sys::SLUICE_FINISH_LENGTH => FinishReason::Length,
            _ => FinishReason::Cancelled,
        }
    }
}

/// Where tokens go; says whether to stop.
pub(crate) trait Sink {
    fn put(&mut self, token: Token) -> bool;
}

impl<F: FnMut(Token) -> bool> Sink for F {
    fn put(&mut self, token: Token) -> bool {
        self(token)
    }
}

/// What the callbacks of one generation share. The library calls them one at a time.
pub(crate) struct Generation<S> {
    sink: S,
    panic: Option<Payload>,
    on_logits: Option<Arc<Mutex<LogitsFn>>>,
    logprob: Option<f32>,
    top: Vec<TokenLogprob>,
}

impl<S: Sink> Generation<S> {
    pub(crate) fn new(options: &GenerateOptions, sink: S) -> Generation<S> {
        let on_logits = options.logits_fn();
        Generation { sink, panic: None, on_logits, logprob: None, top: Vec::new() }
    }

    /// When no callback will come any more: the sink, and a panic to resume.
    pub(crate) fn into_parts(self) -> (S, Option<Payload>) {
        (self.sink, self.panic)
    }

    /// Makes `options` call back into the generation that `user_data` points to.
    pub(crate) fn connect(&self, options: &mut LoweredGenerateOptions, user_data: *mut c_void) {
        options.raw.on_logits = self.on_logits.as_ref().map(|_| on_logits::<S> as _);
        if options.wants_logprobs {
            options.raw.on_logprobs = Some(on_logprobs::<S>);
        }
        options.raw.sampling_user_data = user_data;
    }
}

/// A sluice_logits_fn.
///
/// # Safety
/// As for all three: `user_data` comes from a live `Generation<S>` that nothing else uses
/// meanwhile, and the other arguments are as sluice.h says.
unsafe extern "C" fn on_logits<S: Sink>(
    logits: *mut f32,
    vocab_size: usize,
    position: u32,
    user_data: *mut c_void,
) -> i32 {
    // SAFETY: by this function's contract.
    let generation = unsafe { &mut *user_data.cast::<Generation<S>>() };
    // SAFETY: vocab_size floats, ours to change during the call.
    let logits = unsafe { slice::from_raw_parts_mut(logits, vocab_size) };
    let on_logits = &generation.on_logits;
    caught(&mut generation.panic, || match on_logits {
        Some(on_logits) => (lock(on_logits))(logits, position),
        None => false,
    })
}

/// A sluice_logprobs_fn: keeps what comes for the token that follows.
unsafe extern "C" fn on_logprobs<S: Sink>(
    chosen: *const sys::sluice_token_logprob,
    top: *const sys::sluice_token_logprob,
    top_count: usize,
    user_data: *mut c_void,
) -> i32 {
    // SAFETY: as for on_logits().
    let generation = unsafe { &mut *user_data.cast::<Generation<S>>() };
    // SAFETY: valid during the call.
    let chosen = unsafe { &*chosen };
    let top: &[sys::sluice_token_logprob] = if top_count == 0 {
        &[]
    } else {
        // SAFETY: top_count elements, valid during the call.
        unsafe { slice::from_raw_parts(top, top_count) }
    };
    generation.logprob = Some(chosen.logprob);
    generation.top.clear();
    let of = |t: &sys::sluice_token_logprob| TokenLogprob { token: t.token, logprob: t.logprob };
    generation.top.extend(top.iter().map(of));
    0
}

/// A sluice_token_fn.
///
/// # Safety
/// As for on_logits().
pub(crate) unsafe extern "C" fn on_token<S: Sink>(
    token: i32,
    text: *const c_char,
    text_bytes: usize,
    user_data: *mut c_void,
) -> i32 {
    // SAFETY: by this function's contract.
    let generation = unsafe { &mut *user_data.cast::<Generation<S>>() };
    let text: &[u8] = if text_bytes == 0 {
        &[]
    } else {
        // SAFETY: text_bytes bytes, valid during the call.
        unsafe { slice::from_raw_parts(text.cast(), text_bytes) }
    };
    let id = if token < 0 { None } else { Some(token) };
    let token = Token {
        id,
        text: String::from_utf8_lossy(text).into_owned(),
        logprob: generation.logprob.take(),
        top: std::mem::take(&mut generation.top),
    };
    let sink = &mut generation.sink;
    caught(&mut generation.panic, || sink.put(token))
}
