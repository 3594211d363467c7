//! Generation as an iterator: the tokens come from a thread of the library's through a channel.
use crate::callback::{silenced, Payload};
use crate::error::{check, check_with, Error, ErrorCode, Result};
use crate::generate::{on_token, FinishReason, Generation, Prompt, Sink, Token};
use crate::generate_options::GenerateOptions;
use crate::session::Session;
use crate::text::text_of;
use sluice_sys as sys;
use std::os::raw::{c_char, c_void};
use std::panic::resume_unwind;
use std::sync::mpsc::{channel, Receiver, Sender};

/// How a generation ended.
struct Done {
    result: Result<FinishReason>,
    panic: Option<Payload>,
}

enum Event {
    Token(Token),
    Done(Done),
}

struct ToChannel(Sender<Event>);

impl Sink for ToChannel {
    fn put(&mut self, token: Token) -> bool {
        // Nobody listens any more: stop.
        self.0.send(Event::Token(token)).is_err()
    }
}

/// The tokens of a generation that runs on a thread of the library's, which does not wait for the
/// reader. [`Session::generate_iter`] makes it. After an error, or a panic of
/// [`GenerateOptions::on_logits`] that comes out of `next`, it is over. Dropping it stops the
/// generation and waits for its end; a panic that has not come out by then is lost.
#[derive(Debug)]
pub struct Tokens<'s> {
    session: &'s mut Session,
    events: Receiver<Event>,
    over: bool,
    finish_reason: Option<FinishReason>,
}

impl<'s> Tokens<'s> {
    pub(crate) fn start(
        session: &'s mut Session,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
    ) -> Result<Tokens<'s>> {
        let mut lowered = options.lower()?;
        let (sender, events) = channel();
        let generation = Generation::new(options, ToChannel(sender));
        let raw = Box::into_raw(Box::new(generation));
        // SAFETY: just made, and nobody else has it yet.
        unsafe { &*raw }.connect(&mut lowered, raw.cast());
        // SAFETY: prompt and options are copied before this returns. After SLUICE_OK the generation
        // belongs to the callbacks, the last of which, on_done(), frees it.
        let status = unsafe {
            match prompt {
                Prompt::Text(text) => sys::sluice_session_generate_start(
                    session.as_ptr(),
                    text.as_ptr().cast(),
                    text.len(),
                    &lowered.raw,
                    Some(on_token::<ToChannel>),
                    Some(on_done),
                    raw.cast(),
                ),
                Prompt::Tokens(tokens) => sys::sluice_session_generate_tokens_start(
                    session.as_ptr(),
                    tokens.as_ptr(),
                    tokens.len(),
                    &lowered.raw,
                    Some(on_token::<ToChannel>),
                    Some(on_done),
                    raw.cast(),
                ),
            }
        };
        if let Err(error) = check(status) {
            // SAFETY: after a failure there are no callbacks, and the generation is ours again.
            drop(unsafe { Box::from_raw(raw) });
            return Err(error);
        }
        Ok(Tokens { session, events, over: false, finish_reason: None })
    }

    /// Why the generation ended; none while it has not, and when it failed.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Result<Token>> {
        if self.over {
            return None;
        }
        let done = match self.events.recv() {
            Ok(Event::Token(token)) => return Some(Ok(token)),
            Ok(Event::Done(done)) => done,
            Err(_) => Done {
                result: Err(Error::new(ErrorCode::Internal, "the generation vanished")),
                panic: None,
            },
        };
        self.over = true;
        if let Some(payload) = done.panic {
            resume_unwind(payload);
        }
        match self.session.reader_panic().resume(done.result) {
            Ok(reason) => {
                self.finish_reason = Some(reason);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl std::iter::FusedIterator for Tokens<'_> {}

impl Drop for Tokens<'_> {
    fn drop(&mut self) {
        // What has come already may tell that there is nothing to stop any more.
        while !self.over {
            match self.events.try_recv() {
                Ok(Event::Token(_)) => {}
                Ok(Event::Done(_)) => self.over = true,
                Err(_) => break,
            }
        }
        if self.over {
            return;
        }
        self.session.cancel_handle().cancel();
        while let Ok(Event::Token(_)) = self.events.recv() {}
        // It may have ended by itself meanwhile: what was meant for it must not stop the next call.
        self.session.forget_cancellation();
    }
}

/// A sluice_done_fn: the last callback, on a thread of the library's.
///
/// # Safety
/// `user_data` is the generation of start(), which no callback uses any more; `message` is NULL or
/// NUL-terminated.
unsafe extern "C" fn on_done(
    status: sys::sluice_status,
    message: *const c_char,
    finish_reason: i32,
    user_data: *mut c_void,
) {
    silenced(|| {
        // SAFETY: it comes from Box::into_raw() in start(), and this runs exactly once.
        let generation = unsafe { Box::from_raw(user_data.cast::<Generation<ToChannel>>()) };
        // SAFETY: by this function's contract.
        let message = unsafe { text_of(message) };
        let result = check_with(status, message).map(|()| FinishReason::of(finish_reason));
        let (sink, panic) = generation.into_parts();
        // Nobody listens any more: the iterator was leaked.
        let _ = sink.0.send(Event::Done(Done { result, panic }));
    });
}
