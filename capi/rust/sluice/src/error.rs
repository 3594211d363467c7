//! What went wrong: a status code of the C ABI, and its message.
use crate::text::text_of;
use sluice_sys as sys;
use std::fmt;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure it was. Later versions of the library may know more kinds.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The caller's mistake; nothing has changed.
    InvalidArgument,
    /// No such file.
    NotFound,
    /// Storage failed, or refused.
    Io,
    /// The file is damaged; the message names the place.
    Corrupt,
    /// A form that this version does not read or run.
    Unsupported,
    /// Also: the budget is below the floor.
    OutOfMemory,
    /// Not now: all sessions are taken, the file has no tokenizer, ...
    BadState,
    /// Stopped by a [`CancelHandle`](crate::CancelHandle) or by a callback.
    Cancelled,
    /// A defect of Sluice's: drop the session and report it.
    Internal,
    /// A status that this version of the crate does not know.
    Unknown(i32),
}

const CODES: [(u32, ErrorCode); 9] = [
    (sys::SLUICE_INVALID_ARGUMENT, ErrorCode::InvalidArgument),
    (sys::SLUICE_NOT_FOUND, ErrorCode::NotFound),
    (sys::SLUICE_IO, ErrorCode::Io),
    (sys::SLUICE_CORRUPT, ErrorCode::Corrupt),
    (sys::SLUICE_UNSUPPORTED, ErrorCode::Unsupported),
    (sys::SLUICE_OUT_OF_MEMORY, ErrorCode::OutOfMemory),
    (sys::SLUICE_BAD_STATE, ErrorCode::BadState),
    (sys::SLUICE_CANCELLED, ErrorCode::Cancelled),
    (sys::SLUICE_INTERNAL, ErrorCode::Internal),
];

impl ErrorCode {
    fn of(status: sys::sluice_status) -> ErrorCode {
        let known = CODES.iter().find(|(number, _)| *number as i32 == status);
        known.map_or(ErrorCode::Unknown(status), |(_, code)| *code)
    }

    fn status(self) -> sys::sluice_status {
        if let ErrorCode::Unknown(status) = self {
            return status;
        }
        // Every other code is in the table.
        CODES.iter().find(|(_, code)| *code == self).map_or(-1, |(number, _)| *number as i32)
    }

    /// "INVALID_ARGUMENT", "NOT_FOUND", ...; "UNKNOWN" for codes that the library does not know.
    pub fn name(self) -> &'static str {
        // SAFETY: any number is allowed; the answer is a static string.
        let name = unsafe { std::ffi::CStr::from_ptr(sys::sluice_status_name(self.status())) };
        name.to_str().unwrap_or("UNKNOWN")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure: its kind, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
}

impl Error {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::InvalidArgument, message)
    }

    /// What kind of failure it was.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Why, in words that name file, layer, offset, expected and found where there are any. The
    /// wording is not promised.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

/// The result of a call that has just returned `status` on this thread.
pub(crate) fn check(status: sys::sluice_status) -> Result<()> {
    if status == sys::SLUICE_OK as i32 {
        return Ok(());
    }
    // SAFETY: the message is this thread's, NUL-terminated, and stays until its next call.
    let message = unsafe { text_of(sys::sluice_last_error_message()) };
    Err(Error::new(ErrorCode::of(status), message))
}

/// The result of a call that ended elsewhere and brought its message along.
pub(crate) fn check_with(status: sys::sluice_status, message: String) -> Result<()> {
    if status == sys::SLUICE_OK as i32 {
        return Ok(());
    }
    Err(Error::new(ErrorCode::of(status), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_and_name() {
        for (number, code) in CODES {
            assert_eq!(ErrorCode::of(number as i32), code);
            assert_eq!(code.status(), number as i32);
            assert_ne!(code.name(), "UNKNOWN");
        }
        assert_eq!(ErrorCode::of(77), ErrorCode::Unknown(77));
        assert_eq!(ErrorCode::Unknown(77).name(), "UNKNOWN");
        assert_eq!(ErrorCode::BadState.to_string(), "BAD_STATE");
    }
}
