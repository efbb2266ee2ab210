"""Files that another process writes or has damaged: read new content, a bounded amount at a time.

Only regular files are opened, never links or pipes: whoever may write into a run folder must not be able to show
other files of this machine, or to make the reader wait.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LONGEST_DIVERGENCE = 1_000
"""Bytes of divergence.txt, which is one sentence."""
WHOLE_FILE_LIMIT = 32 * 2**20
"""Bytes of a file that is read as a whole."""
READ_LIMIT = 32 * 2**20
"""Bytes that one call reads of a file that grows; the next call continues there."""
LINE_LIMIT = 8 * 2**20
"""Bytes of a line; longer lines are left out."""
_TAIL = 64  # bytes before the reading position that tell whether a file was rewritten in place


def open_regular(path: Path) -> BinaryIO:
    """Return a file opened for reading.

    Raises:
        OSError: it is missing, cannot be read, or is a link, a folder or a pipe.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, limit: int = WHOLE_FILE_LIMIT) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: as `open_regular`, or it has more than `limit` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(f"it has {size / 2**20:.0f} MB, and more than {limit / 2**20:.0f} MB are not read")
        return file.read(size)


def divergence_of(run_dir: Path) -> str:
    """Return the sentence of a run's divergence.txt, where and what diverged; empty where learning has not diverged.

    Args:
        run_dir: the run folder.
    """
    try:
        content = read_whole(run_dir / "divergence.txt", LONGEST_DIVERGENCE)
    except OSError:
        return ""
    text = "".join(sign if sign.isprintable() else " " for sign in content.decode(errors="replace"))
    return text.strip() or "learning has diverged"


def version_of(path: Path) -> str:
    """Return a text that changes whenever the file does; empty for a missing file."""
    try:
        status = os.lstat(path)
    except OSError:
        return ""
    return f"{status.st_ino}:{status.st_mtime_ns}:{status.st_size}"


@dataclass(frozen=True)
class NewLines:
    """The result of a call of `GrowingLines.read`.

    Attributes:
        lines: whole lines that no earlier call returned, without their ends.
        restarted: the file is another one than before, or was cut: forget all earlier lines.
        left_out: how many lines were too long.
        unread: bytes that are left for the next call, a half-written last line included.
    """

    lines: list[bytes]
    restarted: bool = False
    left_out: int = 0
    unread: int = 0


class GrowingLines:
    """The lines of a file that grows, each returned once; a half-written last line waits for its end."""

    def __init__(self, path: Path, read_limit: int = READ_LIMIT, line_limit: int = LINE_LIMIT) -> None:
        self.path = path
        self._read_limit = read_limit
        self._line_limit = line_limit
        self._begin()

    def _begin(self) -> None:
        self._inode = -1
        self._position = 0
        self._tail = b""  # the bytes before the position
        self._inside_long_line = False

    def read(self) -> NewLines:
        """Return the lines that were completed since the last call.

        Raises:
            OSError: as `open_regular`.
        """
        with open_regular(self.path) as file:
            status = os.fstat(file.fileno())
            restarted = self._position > 0 and not self._continues(file, status)
            if restarted:
                self._begin()
            self._inode = status.st_ino
            file.seek(self._position)
            content = file.read(self._read_limit)
            consumed, lines, left_out = self._split(content)
            self._tail = (self._tail + content[:consumed])[-_TAIL:]
            self._position += consumed
            return NewLines(lines, restarted, left_out, max(0, status.st_size - self._position))

    def _continues(self, file: BinaryIO, status: os.stat_result) -> bool:
        """Return whether the file still begins with what was read of it."""
        if status.st_ino != self._inode or status.st_size < self._position:
            return False
        file.seek(self._position - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _split(self, content: bytes) -> tuple[int, list[bytes], int]:
        """Return how many bytes are done with, the whole lines in them, and how many lines were too long."""
        lines = []
        left_out = 0
        start = 0
        while (end := content.find(b"\n", start)) >= 0:
            if self._inside_long_line or end - start > self._line_limit:
                left_out += 1
            elif end > start:
                lines.append(content[start:end])
            self._inside_long_line = False
            start = end + 1
        if len(content) - start > min(self._line_limit, self._read_limit - 1):
            self._inside_long_line = True  # its rest, whenever it comes, is left out too
            start = len(content)
        return start, lines, left_out
