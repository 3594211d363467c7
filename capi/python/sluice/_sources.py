"""Where a bundle file's bytes come from: a path, a descriptor, or an object of Python's."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import threading
from typing import IO, TYPE_CHECKING, Any, Callable, Optional, Union

from . import _structs as s
from ._callbacks import find, forget, register
from ._library import path_bytes
from ._options import unsigned
from .errors import InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import Protocol

    class ReadAt(Protocol):
        """Bytes at any place, from any thread: an archive's member, an object store, ..."""

        def read_at(self, offset: int, size: int) -> bytes:
            """Up to `size` bytes; none only at the end. Called on several threads at once."""

    Source = Union[str, "os.PathLike[str]", int, IO[bytes], ReadAt]


class Reader:
    """What C reads through. It keeps the last exception, to be the cause of the failure it led to.
    """

    def __init__(self, read_at: Callable[[int, int], Any]) -> None:
        self._read_at = read_at
        self.error: Optional[BaseException] = None

    def read(self, offset: int, buffer: int, size: int) -> int:
        try:
            data = memoryview(self._read_at(offset, size)).cast("B")
            if len(data) > size:
                raise ValueError(f"read_at() gave {len(data)} bytes, {size} were asked for")
            ctypes.memmove(buffer, data.tobytes(), len(data))
            return len(data)
        except BaseException as error:  # C cannot be unwound
            self.error = error
            number = error.errno if isinstance(error, OSError) else None
            return -(number or errno.EIO)


class _Seekable:
    """A seekable file: one position, so one read at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)


def _read(offset: int, buffer: int, size: int, number: Optional[int]) -> int:
    reader = find(number)
    return -errno.EIO if reader is None else reader.read(offset, buffer, size)


def _release(number: Optional[int]) -> None:
    if number is not None:
        forget(number)


_READ = s.ReadFn(_read)
_RELEASE = s.ReleaseFn(_release)


def _descriptor_of(source: Any) -> Optional[int]:
    """The descriptor behind an ordinary file. Others have a fileno() too, of other bytes: gzip's
    is that of the compressed file."""
    raw = source.raw if isinstance(source, (io.BufferedReader, io.BufferedRandom)) else source
    return raw.fileno() if isinstance(raw, io.FileIO) else None


def _length_of(source: Any, offset: int) -> int:
    if hasattr(source, "read_at"):
        size = getattr(source, "size", None)
        if size is None:
            raise InvalidArgument("give length=, or an object with a size")
        end = unsigned("size", size() if callable(size) else size, 64)
    else:
        end = int(source.seek(0, os.SEEK_END))
    return unsigned("the length behind the offset", end - offset, 64)


class OpenSource:
    """A sluice_source and what it needs while it is borrowed."""

    def __init__(self, source: Any, offset: int, length: Optional[int], threads: int) -> None:
        self.c = s.CSource()
        self.reader: Optional[Reader] = None
        self._number = 0
        self.c.offset = unsigned("offset", offset, 64)
        if length is not None:
            self.c.bytes = unsigned("length", length, 64)
        self.c.read_threads = unsigned("read_threads", threads, 32)
        if isinstance(source, (str, os.PathLike)):
            self._path(source, offset, length)
        elif isinstance(source, int) and not isinstance(source, bool):
            self._descriptor(source)
        else:
            self._object(source, offset)

    def _path(self, source: Any, offset: int, length: Optional[int]) -> None:
        if offset or length is not None:
            raise InvalidArgument("a path has no offset and length: open the file and give that")
        self.c.kind, self.c.path = s.SOURCE_PATH, path_bytes(source)

    def _descriptor(self, fd: int) -> None:
        self.c.kind, self.c.fd = s.SOURCE_FD, unsigned("a descriptor", fd, 31)

    def _object(self, source: Any, offset: int) -> None:
        descriptor = _descriptor_of(source)
        if descriptor is not None:
            self._descriptor(descriptor)
            return
        if hasattr(source, "read_at"):
            self._reader(source.read_at, source, offset)
        elif hasattr(source, "read") and hasattr(source, "seek"):
            self._reader(_Seekable(source).read_at, source, offset)
        else:
            raise TypeError("a source is a path, a descriptor, a binary file that can seek, or an "
                            f"object with read_at(offset, size), not {type(source).__name__}")

    def _reader(self, read_at: Callable[[int, int], Any], source: Any, offset: int) -> None:
        if not self.c.bytes:
            self.c.bytes = _length_of(source, offset)
        # The library's offset is for descriptors.
        self.reader = Reader(lambda at, size: read_at(offset + at, size))
        self.c.kind, self.c.offset = s.SOURCE_READER, 0
        self.c.read, self.c.release = _READ, _RELEASE
        name = getattr(source, "name", None)
        if isinstance(name, str):
            self.c.path = name.encode("utf-8", "replace").replace(b"\0", b"?")

    def lend(self) -> Any:
        """The struct for one call, which releases the reader that goes with it."""
        if self.reader is not None:
            self._number = register(self.reader)
            self.c.user_data = self._number
        return ctypes.byref(self.c)

    def take_back(self) -> None:
        """After planning, which releases nothing, and after a failure, where C did or never will.
        """
        if self._number:
            forget(self._number)
