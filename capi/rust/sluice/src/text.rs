//! Text and paths on their way to C and back.
use crate::error::{check, Error, Result};
use sluice_sys as sys;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::path::Path;
use std::ptr;

/// A copy of C's text; bytes that are not UTF-8 become U+FFFD.
///
/// # Safety
/// `text` is NULL or NUL-terminated, and stays unchanged during the call.
pub(crate) unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The text in a fixed array of a struct, up to its NUL or its end.
pub(crate) fn text_in(array: &[c_char]) -> String {
    let bytes: Vec<u8> = array.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text that `fill` writes into a buffer. It gets the buffer's size, at first `room`, and says in
/// any case how many bytes the text has without its NUL; when they do not fit, it is called again.
pub(crate) fn filled_text(
    room: usize,
    mut fill: impl FnMut(*mut c_char, usize, &mut usize) -> sys::sluice_status,
) -> Result<String> {
    let mut text = vec![0u8; room];
    loop {
        let mut bytes = 0;
        let status = fill(text.as_mut_ptr().cast(), text.len(), &mut bytes);
        if bytes >= text.len() {
            text.resize(bytes + 1, 0);
            continue;
        }
        check(status)?;
        text.truncate(bytes);
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
}

/// `text` with a NUL behind it; `what` is for the message when it has one inside.
pub(crate) fn c_text(text: &str, what: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("{} contains a NUL", what)))
}

/// A path, which the C ABI takes as UTF-8.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    let text =
        path.to_str().ok_or_else(|| Error::invalid(format!("the path {:?} is not UTF-8", path)))?;
    c_text(text, "a path")
}

/// For an optional path: NULL where there is none.
pub(crate) fn c_path_or_null(path: Option<&Path>) -> Result<Option<CString>> {
    path.map(c_path).transpose()
}

/// Borrowed from `text`; NULL where there is none.
pub(crate) fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

/// The size that a struct of the C ABI states about itself.
pub(crate) fn struct_size<T>() -> u32 {
    std::mem::size_of::<T>() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_its_nul_or_with_its_array() {
        let array = [b'o' as c_char, b'p' as c_char, 0, b'x' as c_char];
        assert_eq!(text_in(&array), "op");
        assert_eq!(text_in(&array[..2]), "op");
        assert_eq!(text_in(&[]), "");
    }

    #[test]
    fn a_buffer_that_is_too_small_grows() {
        let mut rooms = Vec::new();
        let text = filled_text(3, |text, room, bytes| {
            rooms.push(room);
            *bytes = 3;
            if room <= 3 {
                return sys::SLUICE_INVALID_ARGUMENT as sys::sluice_status;
            }
            // SAFETY: there is room for four.
            unsafe { ptr::copy_nonoverlapping(b"abc\0".as_ptr().cast(), text, 4) };
            sys::SLUICE_OK as sys::sluice_status
        });
        assert_eq!(text.unwrap(), "abc");
        assert_eq!(rooms, [3, 4]);
        let refused = |_: *mut c_char, _: usize, _: &mut usize| {
            sys::SLUICE_INVALID_ARGUMENT as sys::sluice_status
        };
        assert!(filled_text(3, refused).is_err());
    }

    #[test]
    fn a_nul_inside_is_refused() {
        assert!(c_text("a\0b", "a stop string").unwrap_err().message().contains("a stop string"));
        assert!(c_path(Path::new("a\0b")).is_err());
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { text_of(ptr::null()) }, "");
    }
}
