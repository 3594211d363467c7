//! Sessions: a KV cache, and what is done with it.
use crate::callback::{Callback, Flow, ReaderPanic};
use crate::cancel::CancelHandle;
use crate::error::{check, Error, ErrorCode, Result};
use crate::generate::{on_token, FinishReason, Generation, Prompt, Sink, Token};
use crate::generate_options::GenerateOptions;
use crate::stats::Stats;
use crate::text::c_path;
use crate::tokens::Tokens;
use sluice_sys as sys;
use std::os::raw::c_void;
use std::panic::resume_unwind;
use std::path::Path;
use std::ptr::{self, NonNull};

/// Tokens that have been fed, and what the model remembers of them. Keeps its model alive. May be
/// moved between threads, and is used by one at a time; a [`CancelHandle`] stops it from any.
#[derive(Debug)]
pub struct Session {
    handle: NonNull<sys::sluice_session>,
    vocab_size: usize,
    reader_panic: ReaderPanic,
}

// SAFETY: the handle is a number, and the library lets a session be used and closed on any thread.
// On one at a time: the handle's type keeps it from being Sync.
unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and this is the last use of it but for cancelling, which
        // ignores closed handles.
        unsafe { sys::sluice_session_close(self.handle.as_ptr()) }
    }
}

impl Session {
    pub(crate) fn of(
        handle: *mut sys::sluice_session,
        vocab_size: usize,
        reader_panic: ReaderPanic,
    ) -> Result<Session> {
        let handle = NonNull::new(handle)
            .ok_or_else(|| Error::new(ErrorCode::Internal, "a session without a handle"))?;
        Ok(Session { handle, vocab_size, reader_panic })
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::sluice_session {
        self.handle.as_ptr()
    }

    pub(crate) fn reader_panic(&self) -> &ReaderPanic {
        &self.reader_panic
    }

    /// Tokens that the session holds.
    pub fn position(&self) -> u32 {
        // SAFETY: the handle is open.
        unsafe { sys::sluice_session_position(self.handle.as_ptr()) }
    }

    /// The tokens at positions `0..position`.
    pub fn tokens(&self) -> Result<Vec<i32>> {
        let mut tokens = vec![0; self.position() as usize];
        let mut count = 0;
        // SAFETY: `tokens` is as long as is said. The position stays: nothing runs on the session.
        check(unsafe {
            sys::sluice_session_tokens_copy(
                self.handle.as_ptr(),
                tokens.as_mut_ptr(),
                tokens.len(),
                &mut count,
            )
        })?;
        tokens.truncate(count);
        Ok(tokens)
    }

    /// Back to position 0.
    pub fn reset(&mut self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { sys::sluice_session_reset(self.handle.as_ptr()) })
    }

    /// Back to an earlier position, as if what came after it had never been fed.
    pub fn rewind(&mut self, position: u32) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { sys::sluice_session_rewind(self.handle.as_ptr(), position) })
    }

    /// A second session of the same model with the same tokens. Its statistics begin anew.
    /// [`ErrorCode::BadState`]: all `max_sessions` are taken.
    pub fn try_clone(&self) -> Result<Session> {
        let mut clone = ptr::null_mut();
        // SAFETY: the handle is open; the result goes into a variable of ours.
        check(unsafe { sys::sluice_session_clone(self.handle.as_ptr(), &mut clone) })?;
        Session::of(clone, self.vocab_size, self.reader_panic.clone())
    }

    /// Writes what the session holds to a file, which appears complete or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: the handle is open, the path borrowed for the call.
        check(unsafe { sys::sluice_session_save(self.handle.as_ptr(), path.as_ptr()) })
    }

    /// Takes what a saved session held, which must be of this model and of options like these. The
    /// session stays as it is after a failure.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: the handle is open, the path borrowed for the call.
        check(unsafe { sys::sluice_session_load(self.handle.as_ptr(), path.as_ptr()) })
    }

    /// Feeds prompt tokens. `logits`, if any, has room for the model's `vocab_size` and gets those
    /// of the last token. After a failure the position is unchanged.
    pub fn prefill(&mut self, tokens: &[i32], logits: Option<&mut [f32]>) -> Result<()> {
        self.prefill_with_progress(tokens, logits, |_, _| ())
    }

    /// The same, and tells `progress` how many tokens are done and how many there are.
    pub fn prefill_with_progress<F, R>(
        &mut self,
        tokens: &[i32],
        logits: Option<&mut [f32]>,
        progress: F,
    ) -> Result<()>
    where
        F: FnMut(u32, u32) -> R,
        R: Flow,
    {
        let logits = self.logits_pointer(logits)?;
        let mut callback = Callback::new(progress);
        // SAFETY: `tokens` is as long as is said, `logits` has room for all or is NULL, and the
        // callback outlives the call.
        let status = unsafe {
            sys::sluice_session_prefill(
                self.handle.as_ptr(),
                tokens.as_ptr(),
                tokens.len(),
                logits,
                Some(on_progress::<F, R>),
                callback.user_data(),
            )
        };
        self.reader_panic.resume(callback.finish(status))
    }

    /// Feeds one token, which the statistics count as decoded. Otherwise as
    /// [`prefill`](Session::prefill).
    pub fn decode(&mut self, token: i32, logits: Option<&mut [f32]>) -> Result<()> {
        let logits = self.logits_pointer(logits)?;
        // SAFETY: the handle is open; `logits` has room for all or is NULL.
        let status = unsafe { sys::sluice_session_decode(self.handle.as_ptr(), token, logits) };
        self.reader_panic.check(status)
    }

    fn logits_pointer(&self, logits: Option<&mut [f32]>) -> Result<*mut f32> {
        match logits {
            None => Ok(ptr::null_mut()),
            Some(logits) if logits.len() == self.vocab_size => Ok(logits.as_mut_ptr()),
            Some(logits) => Err(Error::invalid(format!(
                "logits has room for {}, the model's vocabulary is {}",
                logits.len(),
                self.vocab_size
            ))),
        }
    }

    /// Goes on from the session's position with `prompt`, and gives `on_token` each token. The last
    /// generated token is not fed yet; the next generation begins with it.
    ///
    /// ```
    /// use sluice::{GenerateOptions, Model, ModelOptions};
    /// use std::ops::ControlFlow;
    ///
    /// # fn main() -> Result<(), sluice::Error> {
    /// # let path = match std::env::var("SLUICE_TEST_MODEL") { Ok(p) => p, Err(_) => return Ok(()) };
    /// let mut session = Model::open(path, &ModelOptions::new())?.session()?;
    /// let options = GenerateOptions::new().max_tokens(200);
    /// let reason = session.generate("The old woman", &options, |token| {
    ///     print!("{}", token.text);
    ///     if token.text.contains('.') { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// assert_eq!(reason, sluice::FinishReason::Cancelled);
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate<'p, F, R>(
        &mut self,
        prompt: impl Into<Prompt<'p>>,
        options: &GenerateOptions,
        mut on_token: F,
    ) -> Result<FinishReason>
    where
        F: FnMut(Token) -> R,
        R: Flow,
    {
        let sink = move |token: Token| on_token(token).stops();
        let mut generation = Generation::new(options, sink);
        let result = self.run(prompt.into(), options, &mut generation);
        if let (_, Some(payload)) = generation.into_parts() {
            resume_unwind(payload);
        }
        self.reader_panic.resume(result)
    }

    fn run<S: Sink>(
        &mut self,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
        generation: &mut Generation<S>,
    ) -> Result<FinishReason> {
        let mut options = options.lower()?;
        let user_data = (generation as *mut Generation<S>).cast::<c_void>();
        // SAFETY: the pointer was made from an exclusive reference in the line before.
        unsafe { &*user_data.cast::<Generation<S>>() }.connect(&mut options, user_data);
        let mut reason = 0;
        // SAFETY: prompt and options are valid for the call, and so is the generation, which
        // nothing but the callbacks uses meanwhile.
        let status = unsafe {
            match prompt {
                Prompt::Text(text) => sys::sluice_session_generate(
                    self.handle.as_ptr(),
                    text.as_ptr().cast(),
                    text.len(),
                    &options.raw,
                    &mut reason,
                    Some(on_token::<S>),
                    user_data,
                ),
                Prompt::Tokens(tokens) => sys::sluice_session_generate_tokens(
                    self.handle.as_ptr(),
                    tokens.as_ptr(),
                    tokens.len(),
                    &options.raw,
                    &mut reason,
                    Some(on_token::<S>),
                    user_data,
                ),
            }
        };
        check(status)?;
        Ok(FinishReason::of(reason))
    }

    /// The generated text as a whole.
    pub fn generate_text<'p>(
        &mut self,
        prompt: impl Into<Prompt<'p>>,
        options: &GenerateOptions,
    ) -> Result<String> {
        let mut text = String::new();
        self.generate(prompt, options, |token| text.push_str(&token.text))?;
        Ok(text)
    }

    /// Generates on a thread of the library's and returns at once; the iterator gives the tokens
    /// as they come. Dropping it stops the generation and waits for its end.
    pub fn generate_iter<'p>(
        &mut self,
        prompt: impl Into<Prompt<'p>>,
        options: &GenerateOptions,
    ) -> Result<Tokens<'_>> {
        Tokens::start(self, prompt.into(), options)
    }

    /// Uses up a cancellation that came too late for the call that it was meant for; the next call
    /// would stop for it.
    pub(crate) fn forget_cancellation(&mut self) {
        // Not prefill(): the answer, always a failure, is no reader's.
        // SAFETY: the handle is open; no tokens, no logits, no callback.
        let _ = unsafe {
            sys::sluice_session_prefill(
                self.handle.as_ptr(),
                ptr::null(),
                0,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
            )
        };
    }

    /// Means over the tokens decoded so far.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::empty();
        // SAFETY: the handle is open, and `stats` states its size.
        check(unsafe { sys::sluice_session_stats_copy(self.handle.as_ptr(), &mut stats) })?;
        Ok(Stats::of(&stats))
    }

    /// Starts the means over.
    pub fn reset_stats(&mut self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { sys::sluice_session_stats_reset(self.handle.as_ptr()) })
    }

    /// What stops this session from any thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle::session(self.handle)
    }
}

/// A sluice_progress_fn for a closure.
///
/// # Safety
/// `user_data` comes from a live `Callback<F>` that nothing else uses meanwhile.
unsafe extern "C" fn on_progress<F, R>(done: u32, total: u32, user_data: *mut c_void) -> i32
where
    F: FnMut(u32, u32) -> R,
    R: Flow,
{
    // SAFETY: by this function's contract; it is called on the calling thread alone.
    let callback = unsafe { &mut *user_data.cast::<Callback<F>>() };
    callback.run(|closure| closure(done, total).stops())
}
