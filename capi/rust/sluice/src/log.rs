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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A remark as the library makes it.
    fn remark(level: i32, text: &str) {
        let text = CString::new(text).unwrap();
        // SAFETY: NUL-terminated, and valid during the call.
        unsafe { on_log(level, text.as_ptr(), ptr::null_mut()) };
    }

    /// One test: the log is the process's.
    #[test]
    fn remarks_go_to_the_closure_that_is_set() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let collect = || {
            let seen = seen.clone();
            move |level: LogLevel, text: &str| lock(&seen).push((level, text.to_string()))
        };
        set_log(collect());
        remark(0, "by the way");
        remark(1, "amiss");
        let expected = [
            (LogLevel::Information, "by the way".to_string()),
            (LogLevel::Warning, "amiss".to_string()),
        ];
        assert_eq!(lock(&seen)[..], expected);

        let panics = Arc::new(AtomicU32::new(0));
        let counter = panics.clone();
        set_log(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            panic!("nobody hears of it");
        });
        remark(1, "to one that panics");
        remark(1, "and again");
        assert_eq!(panics.load(Ordering::Relaxed), 2);

        set_log(collect());
        clear_log();
        remark(1, "to nobody");
        assert_eq!(lock(&seen)[..], expected);
        // No closure is kept.
        assert_eq!((Arc::strong_count(&seen), Arc::strong_count(&panics)), (1, 1));
    }
}
