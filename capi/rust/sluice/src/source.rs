//! Where a bundle file's bytes are: at a path, in an open file, or behind the host's own reader.
use crate::callback::{caught, lock, silenced, Payload, ReaderPanic};
use crate::error::Result;
use crate::text::{c_path, c_text, pointer, struct_size};
use sluice_sys as sys;
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::raw::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bytes that the host reads: an archive, an encrypted file, a network.
pub trait ReadAt: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; how many, 0 only at the end. Called on several
    /// of the library's threads at once, and must not use the model that it reads. The buffer is
    /// zeroed.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let count = buffer.len().min(self.len() - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }
}

#[cfg(unix)]
impl ReadAt for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

enum Kind {
    Path(PathBuf),
    #[cfg(unix)]
    File {
        file: File,
        offset: u64,
        bytes: u64,
    },
    Reader {
        reader: Box<dyn ReadAt>,
        bytes: u64,
        threads: u32,
    },
}

/// Where a bundle file's bytes are. Paths become one by themselves.
///
/// ```
/// use sluice::{Model, ModelOptions, Source};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = match std::env::var("SLUICE_TEST_MODEL") { Ok(p) => p, Err(_) => return Ok(()) };
/// let bytes = std::fs::read(path)?;
/// let length = bytes.len() as u64;
/// let source = Source::reader(bytes, length).name("a model in memory");
/// let model = Model::open(source, &ModelOptions::new().context_tokens(64))?;
/// assert_eq!(model.info()?.file_bytes, length);
/// # Ok(())
/// # }
/// ```
pub struct Source {
    kind: Kind,
    name: Option<String>,
}

impl Source {
    /// A bundle file by its path.
    pub fn path(path: impl AsRef<Path>) -> Source {
        Source { kind: Kind::Path(path.as_ref().to_path_buf()), name: None }
    }

    /// An open regular file.
    #[cfg(unix)]
    pub fn file(file: File) -> Source {
        Source::file_part(file, 0, 0)
    }

    /// A part of an open regular file: `bytes` bytes from `offset` on, all when that is 0. Reads
    /// bypass the page cache only where `offset` is a multiple of 4096.
    #[cfg(unix)]
    pub fn file_part(file: File, offset: u64, bytes: u64) -> Source {
        Source { kind: Kind::File { file, offset, bytes }, name: None }
    }

    /// `bytes` bytes that the host reads itself. A panic of the reader's fails the call that needs
    /// the bytes, which then resumes it.
    pub fn reader(reader: impl ReadAt + 'static, bytes: u64) -> Source {
        Source { kind: Kind::Reader { reader: Box::new(reader), bytes, threads: 0 }, name: None }
    }

    /// Calls of the reader at one time, at most 64. Default: 4. Of no effect elsewhere.
    pub fn read_threads(mut self, count: u32) -> Source {
        if let Kind::Reader { threads, .. } = &mut self.kind {
            *threads = count;
        }
        self
    }

    /// What messages call a file or reader. Of no effect on a path.
    pub fn name(mut self, name: impl Into<String>) -> Source {
        self.name = Some(name.into());
        self
    }

    /// For one call of the library, which has to follow: opening takes a reader over, planning does
    /// not, see take_back().
    pub(crate) fn lower(self) -> Result<LoweredSource> {
        let mut raw = sys::sluice_source {
            struct_size: struct_size::<sys::sluice_source>(),
            fd: -1,
            ..Default::default()
        };
        let mut panic = ReaderPanic::default();
        let path = match &self.kind {
            Kind::Path(path) => Some(c_path(path)?),
            _ => self.name.as_deref().map(|name| c_text(name, "a source's name")).transpose()?,
        };
        raw.path = pointer(&path);
        let mut kept = None;
        match self.kind {
            Kind::Path(_) => raw.kind = sys::SLUICE_SOURCE_PATH as i32,
            #[cfg(unix)]
            Kind::File { file, offset, bytes } => {
                raw.kind = sys::SLUICE_SOURCE_FD as i32;
                raw.fd = std::os::unix::io::AsRawFd::as_raw_fd(&file);
                raw.offset = offset;
                raw.bytes = bytes;
                kept = Some(file);
            }
            Kind::Reader { reader, bytes, threads } => {
                let slot = Arc::new(Mutex::new(None));
                panic = ReaderPanic::of(slot.clone());
                raw.kind = sys::SLUICE_SOURCE_READER as i32;
                raw.bytes = bytes;
                raw.read_threads = threads;
                raw.read = Some(on_read);
                raw.release = Some(on_release);
                raw.user_data = Box::into_raw(Box::new(Reader { reader, panic: slot })).cast();
            }
        }
        Ok(LoweredSource { raw, panic, _path: path, _file: kept })
    }
}

impl<P: AsRef<Path>> From<P> for Source {
    fn from(path: P) -> Source {
        Source::path(path)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Path(path) => write!(f, "Source::path({:?})", path),
            #[cfg(unix)]
            Kind::File { file, offset, bytes } => {
                write!(f, "Source::file_part({:?}, {}, {})", file, offset, bytes)
            }
            Kind::Reader { bytes, .. } => write!(f, "Source::reader(.., {})", bytes),
        }
    }
}

/// The C struct, and what it borrows for the call.
pub(crate) struct LoweredSource {
    raw: sys::sluice_source,
    /// Where panics of the reader will be found.
    pub(crate) panic: ReaderPanic,
    _path: Option<CString>,
    _file: Option<File>,
}

impl LoweredSource {
    pub(crate) fn as_ptr(&self) -> *const sys::sluice_source {
        &self.raw
    }

    /// After a call that has not taken the reader over, and reads no more.
    pub(crate) fn take_back(self) {
        if !self.raw.user_data.is_null() {
            // SAFETY: it comes from lower(), and nobody else releases it.
            unsafe { on_release(self.raw.user_data) };
        }
    }
}

/// What a reader's callbacks get; on_release() frees it.
struct Reader {
    reader: Box<dyn ReadAt>,
    panic: Arc<Mutex<Option<Payload>>>,
}

// Linux's and everybody else's numbers for "input/output error" and "interrupted".
const EIO: i32 = 5;
const EINTR: i32 = 4;

fn errno_of(error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(errno) if errno > 0 => errno,
        _ if error.kind() == io::ErrorKind::Interrupted => EINTR,
        _ => EIO,
    }
}

unsafe extern "C" fn on_read(
    offset: u64,
    buffer: *mut c_void,
    bytes: usize,
    user_data: *mut c_void,
) -> i64 {
    // SAFETY: user_data is the Reader of lower(), which lives until on_release(); nothing reads any
    // more when that is called. Reads may overlap: ReadAt is Sync, and this reference is shared.
    let reader = unsafe { &*user_data.cast::<Reader>() };
    // SAFETY: `buffer` has room for `bytes` bytes and is this call's alone. Zeroing it first makes
    // it a slice that any reader may look at.
    let buffer = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, bytes);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), bytes)
    };
    let mut answer = -i64::from(EIO);
    if lock(&reader.panic).is_some() {
        return answer; // until the panic has come out, it is not asked again
    }
    let mut panic = None;
    caught(&mut panic, || {
        answer = match reader.reader.read_at(offset, buffer) {
            Ok(count) if count <= bytes => count as i64,
            Ok(_) => -i64::from(EIO), // more than there is room for: it was not read here
            Err(error) => -i64::from(errno_of(&error)),
        };
        false
    });
    if let Some(payload) = panic {
        // The first one stays; a later one's destructor may not panic in here.
        silenced(|| {
            lock(&reader.panic).get_or_insert(payload);
        });
    }
    answer
}

unsafe extern "C" fn on_release(user_data: *mut c_void) {
    silenced(|| {
        // SAFETY: it comes from Box::into_raw() in lower(), and this is called once, when nothing
        // will read any more.
        drop(unsafe { Box::from_raw(user_data.cast::<Reader>()) });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_read_up_to_its_end() {
        let bytes = vec![1u8, 2, 3, 4];
        let mut buffer = [0u8; 3];
        assert_eq!(bytes.read_at(2, &mut buffer).unwrap(), 2);
        assert_eq!(buffer, [3, 4, 0]);
        assert_eq!(bytes.read_at(4, &mut buffer).unwrap(), 0);
        assert_eq!(bytes.read_at(u64::MAX, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn errors_become_numbers() {
        assert_eq!(errno_of(&io::Error::from_raw_os_error(28)), 28);
        assert_eq!(errno_of(&io::Error::new(io::ErrorKind::Other, "x")), EIO);
        assert_eq!(errno_of(&io::Error::from(io::ErrorKind::Interrupted)), EINTR);
    }
}
