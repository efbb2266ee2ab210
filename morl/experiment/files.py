"""Files that lose nothing silently: every byte reaches the operating system at once, and an error names the file."""

import os
from contextlib import closing
from pathlib import Path


class AppendOnlyFile:
    """A file that only grows, unbuffered: when `write` returns, the operating system has every byte.

    Satisfies what tensorboard's `RecordWriter` asks of a file.

    Args:
        path: the file; it is created when it is missing.

    Raises:
        OSError: naming the file, if it cannot be opened or written in full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        remaining = memoryview(data)
        try:
            while remaining:
                remaining = remaining[self._file.write(remaining) :]
        except OSError as error:
            # Only opening a file names it in the error; "No space left on device" alone would not say where.
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def replace_content(path: Path, content: bytes) -> None:
    """Replace the content of a file as a whole, or not at all.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with closing(AppendOnlyFile(temporary)) as file:
        file.write(content)
    os.replace(temporary, path)
