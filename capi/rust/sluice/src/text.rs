//! Text and paths on their way to C and back.
use crate::error::{Error, Result};
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
    fn a_nul_inside_is_refused() {
        assert!(c_text("a\0b", "a stop string").unwrap_err().message().contains("a stop string"));
        assert!(c_path(Path::new("a\0b")).is_err());
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { text_of(ptr::null()) }, "");
    }
}
