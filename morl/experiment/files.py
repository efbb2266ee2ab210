"""The one door to the disk: whatever a run writes, renames or removes goes through these functions.

Files appear whole or not at all, or only grow; every byte reaches the operating system before a call returns, and an
error names the file. Only regular files are written: whoever may write into a run folder must not be able to redirect
a run to other files, or to make it wait for a pipe. `observe` shows every operation before it happens, so that tests
can stop a run at each of them.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from morl.whole_files import refuse_device

Observer = Callable[[str, Path], None]
"""(operation, path): called before each operation ("write", "append", "sync", "rename", "remove", "mkdir", "cut")."""

PARTIAL = ".partial-"
"""How the name of a file begins while it is being written."""

_observers: list[Observer] = []


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Call `observer` before every operation while the block runs; what it raises stops the operation."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def _announce(operation: str, path: Path) -> None:
    for observer in _observers:
        observer(operation, path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file's name to an error: only opening a file names it, "No space left on device" would not say where."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@dataclass(frozen=True)
class FileMark:
    """How far a file had been written: its size in bytes and the SHA-256 of its content."""

    size: int
    sha256: str


class AppendOnlyFile:
    """A file that only grows, unbuffered: when `write` returns, the operating system has every byte.

    Satisfies what tensorboard's `RecordWriter` asks of a file.

    Args:
        path: the file; it is created when it is missing.

    Raises:
        OSError: naming the file, if it cannot be opened or written in full, or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        refuse_special(path)
        self._size = path.stat().st_size if path.exists() else 0
        self._sha = prefix_hash(path, self._size)
        _announce("write", path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)

    @property
    def mark(self) -> FileMark:
        """Return how far the file has been written."""
        return FileMark(self._size, self._sha.hexdigest())

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        _announce("append", self.path)
        remaining = memoryview(data)
        with _named(self.path):
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]
        self._sha.update(data)
        self._size += len(data)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def prefix_hash(path: Path, size: int) -> "hashlib._Hash":
    """Return the SHA-256 of the first `size` bytes of a file, to be continued; of nothing where it is missing."""
    sha = hashlib.sha256()
    if size == 0:
        return sha
    with path.open("rb") as stream:
        while size > 0 and (part := stream.read(min(size, 2**20))):
            sha.update(part)
            size -= len(part)
    return sha


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when the call returns.

    Args:
        path: the file; one that exists is replaced.
        content: all of it.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    partial = _partial(path)
    write_synced(partial, content)
    rename(partial, path)


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Yield the name under which others write a file; it gets its own name when the block ends without an error.

    Args:
        path: the file; one that exists is replaced.

    Raises:
        OSError: it cannot be put on the disk or renamed.
    """
    partial = _partial(path)
    try:
        yield partial
        _announce("sync", partial)
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        rename(partial, path)
    finally:
        remove(partial)


def _partial(path: Path) -> Path:
    """Return the name under which a file is written before it gets its own; nothing has this name.

    Raises:
        OSError: at the path is a device, a pipe or a socket, which the file would replace.
    """
    refuse_device(path)
    partial = path.with_name(f"{PARTIAL}{path.name}")
    remove(partial)
    return partial


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) that appears whole or not at all; errors as for `write_whole`."""
    write_whole(path, text.encode())


class NewFile:
    """A file that is written once, from start to end; `close` puts it on the disk.

    Args:
        path: the file.

    Attributes:
        error: the first failure, for callers that only see what a library makes of it.

    Raises:
        OSError: naming the file, if it exists or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: BaseException | None = None
        self._sha = hashlib.sha256()
        self._size = 0
        _announce("write", path)
        self._stream = path.open("xb", buffering=0)

    @property
    def mark(self) -> FileMark:
        """Return what has been written."""
        return FileMark(self._size, self._sha.hexdigest())

    def write(self, data: bytes) -> int:
        """Append all of `data`; return its length."""
        remaining = memoryview(data).cast("B")
        size = len(remaining)
        self._sha.update(remaining)
        self._size += size
        try:
            with _named(self.path):
                while remaining:
                    remaining = remaining[self._stream.write(remaining) :]
        except OSError as error:
            self.error = self.error or error
            raise
        return size

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Put the file on the disk and close it."""
        with _named(self.path), self._stream:
            _announce("sync", self.path)
            os.fsync(self._stream.fileno())

    def abandon(self) -> None:
        """Close the file as it is."""
        self._stream.close()


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file; it is on the disk when the call returns.

    Raises:
        OSError: naming the file, if it exists or cannot be written.
    """
    file = NewFile(path)
    try:
        file.write(content)
        file.close()
    finally:
        file.abandon()


def rename(source: Path, target: Path) -> None:
    """Move a file or folder, replacing a file at the target."""
    _announce("rename", target)
    os.replace(source, target)


def remove(path: Path) -> None:
    """Remove a file or link, if there is one."""
    if os.path.lexists(path):
        _announce("remove", path)
        path.unlink()


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds, if there is one; links inside are not followed."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        remove(path)
        return
    for entry in sorted(path.iterdir()):
        remove_tree(entry)
    _announce("remove", path)
    path.rmdir()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        OSError: naming it, if it cannot be made, or a link or something else has its name.
    """
    refuse_link(path)
    if not path.is_dir():
        _announce("mkdir", path)
        path.mkdir(parents=True, exist_ok=True)


def cut(path: Path, size: int) -> None:
    """Shorten a file to `size` bytes.

    Raises:
        OSError: naming the file, if it cannot be shortened or is no regular file.
    """
    refuse_special(path)
    if path.stat().st_size > size:
        _announce("cut", path)
        os.truncate(path, size)


def unshare(path: Path) -> None:
    """Replace a file that has other names (hard links) by a copy, so that writing to it changes no other folder.

    Raises:
        OSError: naming the file, if it cannot be copied.
    """
    refuse_special(path)
    if path.exists() and path.stat().st_nlink > 1:
        write_whole(path, path.read_bytes())


def refuse_link(path: Path) -> None:
    """Check that a path is not a link.

    Raises:
        OSError: it is one.
    """
    if path.is_symlink():
        raise OSError(f"{path} is a link, and links inside a run folder are not followed: remove it")


def refuse_special(path: Path) -> None:
    """Check that a path is a regular file or missing.

    Raises:
        OSError: it is a link, a folder, a pipe or a device.
    """
    refuse_link(path)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(f"{path} is not a regular file: remove it")
