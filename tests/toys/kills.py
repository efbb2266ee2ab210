"""Killing a run at any of its file operations, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from morl.experiment import files


class Killed(BaseException):
    """The process is dead: nothing that runs afterwards can change the disk either."""


@contextmanager
def kill_at(moment: int | None, torn: bool = False) -> Iterator[list[tuple[str, Path]]]:
    """Run the block until its file operation number `moment` (from 0), and refuse this and all later ones.

    Yields the operations that were tried. None refuses nothing. A `torn` append is half done.
    """
    tried: list[tuple[str, Path]] = []

    def observer(operation: str, path: Path) -> None:
        tried.append((operation, path))
        if moment is not None and len(tried) > moment:
            if torn and len(tried) == moment + 1 and operation == "append":
                with path.open("ab") as stream:
                    stream.write(b'{"training_steps": 1, "po')
            raise Killed(f"{operation} {path}")

    with files.observe(observer), suppress(Killed):
        yield tried
