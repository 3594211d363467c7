//! Closures on their way through C: what they answer, and where their panics go.
use crate::error::{check, Result};
use crate::text::text_of;
use std::any::Any;
use std::ops::ControlFlow;
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a callback may return: nothing goes on, [`ControlFlow::Break`] stops the call.
pub trait Flow {
    /// Whether the call is to stop.
    fn stops(self) -> bool;
}

impl Flow for () {
    fn stops(self) -> bool {
        false
    }
}

impl Flow for ControlFlow<()> {
    fn stops(self) -> bool {
        self.is_break()
    }
}

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Locks although somebody may have panicked: what is locked here is whole at any time.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A closure behind a callback's user_data, or several that share one. It lies in the frame of the
/// call that C makes it from.
pub(crate) struct Callback<F> {
    closure: F,
    panic: Option<Payload>,
}

impl<F> Callback<F> {
    pub(crate) fn new(closure: F) -> Callback<F> {
        Callback { closure, panic: None }
    }

    pub(crate) fn user_data(&mut self) -> *mut c_void {
        (self as *mut Callback<F>).cast()
    }

    /// Runs `body`, which says whether to stop; after a panic, nothing more. No panic gets out.
    pub(crate) fn run(&mut self, body: impl FnOnce(&mut F) -> bool) -> i32 {
        caught(&mut self.panic, || body(&mut self.closure))
    }

    /// The result of the C call that is over. A panic on the way is resumed here.
    pub(crate) fn finish(self, status: sluice_sys::sluice_status) -> Result<()> {
        let result = check(status);
        if let Some(payload) = self.panic {
            resume_unwind(payload);
        }
        result
    }
}

/// `body`'s answer, or "stop" and a payload kept when it panics or somebody did before.
pub(crate) fn caught(panic: &mut Option<Payload>, body: impl FnOnce() -> bool) -> i32 {
    if panic.is_some() {
        return 1;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(stop) => i32::from(stop),
        Err(payload) => {
            *panic = Some(payload);
            1
        }
    }
}

/// Runs `body` where no panic may go on and nobody is there to resume it. The payload is leaked:
/// its destructor could panic again.
pub(crate) fn silenced(body: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
        std::mem::forget(payload);
    }
}

/// A sluice_stage_fn for a closure.
///
/// # Safety
/// `user_data` comes from a live `Callback<F>` that nothing else uses meanwhile; `stage` is NULL or
/// NUL-terminated.
pub(crate) unsafe extern "C" fn on_stage<F, R>(
    stage: *const c_char,
    done: f64,
    user_data: *mut c_void,
) -> i32
where
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    // SAFETY: by this function's contract.
    unsafe {
        run_with_text(user_data, stage, |closure: &mut F, stage| closure(stage, done).stops())
    }
}

/// Runs `body`, which says whether to stop, on the closure (or closures) `C` and C's `text`.
///
/// # Safety
/// `user_data` comes from a live `Callback<C>` that nothing else uses meanwhile; `text` is NULL or
/// NUL-terminated.
pub(crate) unsafe fn run_with_text<C>(
    user_data: *mut c_void,
    text: *const c_char,
    body: impl FnOnce(&mut C, &str) -> bool,
) -> i32 {
    // SAFETY: by this function's contract; the library calls back on the calling thread alone.
    let callback = unsafe { &mut *user_data.cast::<Callback<C>>() };
    callback.run(|closure| {
        // SAFETY: by this function's contract.
        let text = unsafe { text_of(text) };
        body(closure, &text)
    })
}

/// Where a panic in a host's read function is kept. Those run on threads of the library's, for
/// whichever call needs the bytes: the call that fails for it resumes the panic.
#[derive(Clone, Default)]
pub(crate) struct ReaderPanic(Option<Arc<Mutex<Option<Payload>>>>);

impl std::fmt::Debug for ReaderPanic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a reader" } else { "no reader" })
    }
}

impl ReaderPanic {
    pub(crate) fn of(slot: Arc<Mutex<Option<Payload>>>) -> ReaderPanic {
        ReaderPanic(Some(slot))
    }

    /// Passes a result on, unless it is a failure and a reader has panicked.
    pub(crate) fn resume<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let payload = self.0.as_ref().and_then(|slot| lock(slot).take());
            if let Some(payload) = payload {
                resume_unwind(payload);
            }
        }
        result
    }

    /// The result of a C call that is over.
    pub(crate) fn check(&self, status: sluice_sys::sluice_status) -> Result<()> {
        self.resume(check(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_stops_and_is_resumed() {
        let mut callback = Callback::new(0);
        assert_eq!(
            callback.run(|count| {
                *count += 1;
                false
            }),
            0
        );
        assert_eq!(callback.run(|_| true), 1);
        assert_eq!(callback.run(|_| panic!("mine")), 1);
        assert_eq!(
            callback.run(|count| {
                *count += 1;
                false
            }),
            1
        );
        assert_eq!(callback.closure, 1);
        let payload = catch_unwind(AssertUnwindSafe(|| callback.finish(0))).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"mine"));
    }

    #[test]
    fn what_callbacks_answer() {
        assert!(!().stops());
        assert!(!ControlFlow::Continue(()).stops());
        assert!(ControlFlow::Break(()).stops());
    }

    #[test]
    fn a_silenced_panic_goes_nowhere() {
        struct Mean;
        impl Drop for Mean {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        silenced(|| std::panic::panic_any(Mean));
    }
}
