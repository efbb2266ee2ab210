"""Files that appear whole or not at all, and replace nothing but files."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def refuse_device(path: Path) -> None:
    """Check that a file which replaces what is at a path replaces no device, pipe or socket.

    Raises:
        OSError: it would.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "It is a device, a pipe or a socket", str(path))


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Args:
        file: path of the file; one that exists is replaced.
        content: all of it.

    Raises:
        ValueError: nothing can be written there.
    """
    if not file.name:
        raise ValueError(f"{str(file)!r} cannot be written: it is a folder, not the path of a file")
    partial = file.with_name(f".partial-{file.name}")
    try:
        refuse_device(file)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ValueError(f"{file} cannot be written: {error.strerror or error}") from error
