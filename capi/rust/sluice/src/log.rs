//! The library's remarks.
use crate::callback::{lock, silenced};
use crate::text::text_of;
use sluice_sys as sys;
use std::os::raw::{c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};

/// How much a remark matters.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Good to know.
    Information,
    /// Something is not as it should be.
    Warning,
}

type LogFn = dyn Fn(LogLevel, &str) + Send + Sync;

/// The closure stays here, and C gets no pointer to it: whether a remark is on its way while
/// another closure is set need not be known.
static LOG: Mutex<Option<Arc<LogFn>>> = Mutex::new(None);

/// Where the library's few remarks go from now on, for the whole process. `log` may be called on
/// any thread, one call at a time, and must not call the library. A panic in it goes nowhere.
pub fn set_log(log: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
    let before = lock(&LOG).replace(Arc::new(log));
    // SAFETY: the function is static and takes no user_data.
    unsafe { sys::sluice_log_set(Some(on_log), ptr::null_mut()) };
    // Outside the lock: it may be the last owner of the host's closure.
    drop(before);
}

/// Drops remarks from now on, as at the start.
pub fn clear_log() {
    // SAFETY: NULL is allowed.
    unsafe { sys::sluice_log_set(None, ptr::null_mut()) };
    let before = lock(&LOG).take();
    drop(before);
}

/// A sluice_log_fn. `text` is NUL-terminated.
unsafe extern "C" fn on_log(level: i32, text: *const c_char, _user_data: *mut c_void) {
    silenced(|| {
        let log = lock(&LOG).clone();
        if let Some(log) = log {
            let level = if level == 0 { LogLevel::Information } else { LogLevel::Warning };
            // SAFETY: valid during the call.
            let text = unsafe { text_of(text) };
            log(level, &text);
        }
    });
}
