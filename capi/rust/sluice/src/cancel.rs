//! Stopping a session or backend from anywhere.
use sluice_sys as sys;
use std::ptr::NonNull;

#[derive(Clone, Copy, Debug)]
enum Target {
    Session(NonNull<sys::sluice_session>),
    Backend(NonNull<sys::sluice_backend>),
}

/// Stops the call that runs on a [`Session`](crate::Session) or [`Backend`](crate::Backend), from
/// any thread. It may outlive what it stops; it does nothing then.
#[derive(Clone, Debug)]
pub struct CancelHandle {
    target: Target,
}

// SAFETY: the pointers are numbers that the library looks up and never follows; cancelling is
// allowed from any thread at any time, also when the handle is closed.
unsafe impl Send for CancelHandle {}
// SAFETY: as above; the only thing to be done through a reference is to cancel.
unsafe impl Sync for CancelHandle {}

impl CancelHandle {
    pub(crate) fn session(handle: NonNull<sys::sluice_session>) -> CancelHandle {
        CancelHandle { target: Target::Session(handle) }
    }

    pub(crate) fn backend(handle: NonNull<sys::sluice_backend>) -> CancelHandle {
        CancelHandle { target: Target::Backend(handle) }
    }

    /// Makes the call that runs, or the next one, return soon with
    /// [`ErrorCode::Cancelled`](crate::ErrorCode::Cancelled), or
    /// [`FinishReason::Cancelled`](crate::FinishReason::Cancelled) when it generates.
    ///
    /// Who cannot tell whether it came in time calls [`Session::prefill`](crate::Session::prefill)
    /// with no tokens when the call is over: [`ErrorCode::Cancelled`](crate::ErrorCode::Cancelled)
    /// if it was still to come (it is used up then), else
    /// [`ErrorCode::InvalidArgument`](crate::ErrorCode::InvalidArgument).
    pub fn cancel(&self) {
        match self.target {
            // SAFETY: a closed handle is recognised by its number and ignored.
            Target::Session(handle) => unsafe { sys::sluice_session_cancel(handle.as_ptr()) },
            // SAFETY: the same.
            Target::Backend(handle) => unsafe { sys::sluice_backend_cancel(handle.as_ptr()) },
        }
    }
}
