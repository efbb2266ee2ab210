"""Who may write into a run folder: one process at a time, and only into folders that hold a run.

The owner holds a lock that the operating system releases when the process dies, however it dies. A run that replaces
another one (`--overwrite`) keeps the old one aside, in `.overwritten`, until it publishes a front of its own. If it
fails before, and has no checkpoint to resume from either, the folder is as it was. A run that has diverged and replaces
none is kept: its folder shows what happened.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from morl.experiment import checkpoint, publication
from morl.experiment.files import make_folder, remove, remove_tree, rename
from morl.experiment.messages import how_to_resume, spoken
from morl.run_folder import CONFIG, DIVERGENCE, EVENTS, FRONT, NAMES

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

OVERWRITTEN = ".overwritten"
"""Where a run that is being replaced waits."""
LOCK_FILE = ".lock"
"""Locked where the file system cannot lock folders."""
LEFTOVERS = (".partial-", ".replaced-", LOCK_FILE, OVERWRITTEN)
"""How names begin that no run has, but a killed process may leave."""


class FolderInUse(ValueError):
    """Another process owns a run folder."""


class OwnedFolder:
    """A run folder that this process writes into; a context manager that gives it up.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, lock: int | None, made: bool) -> None:
        self.path = path
        self._lock = lock
        self._made = made  # whether there was no folder before
        self._replaces = (path / OVERWRITTEN).is_dir()

    @staticmethod
    def for_new_run(path: Path, overwrite: bool) -> "OwnedFolder":
        """Make a run folder, or take one that is empty; with `overwrite`, put the run that it holds aside.

        Args:
            path: the folder.
            overwrite: whether a run that it holds is to be replaced.

        Raises:
            FileExistsError: it holds a run and `overwrite` is False, or something else than a run.
            FolderInUse: another process owns it.
            OSError: it cannot be made.
        """
        if os.path.lexists(path) and not path.is_dir():
            raise FileExistsError(f"{path} exists and is no folder, so that no run can be written there")
        made = not path.is_dir()
        if made:
            path.mkdir(parents=True)
        lock = _lock(path)
        try:
            recover(path)
            entries = [entry.name for entry in path.iterdir() if not entry.name.startswith(LEFTOVERS)]
            if entries and not overwrite:
                raise FileExistsError(_occupied(path))
            if not set(entries) <= NAMES and CONFIG not in entries:
                refused = spoken("--overwrite", "overwrite=True")
                raise FileExistsError(f"{path} exists and does not hold a run, so that {refused} will not remove it")
            _put_aside(path)
        except BaseException:
            _unlock(lock)
            raise
        return OwnedFolder(path, lock, made)

    @staticmethod
    def of_run(path: Path) -> "OwnedFolder":
        """Take the folder of a run that is to be resumed.

        Args:
            path: the folder.

        Raises:
            ValueError: it is no run folder.
            FolderInUse: another process owns it.
        """
        if not path.is_dir():
            reason = ", but a file" if path.is_file() else f": it has no {CONFIG}"
            raise ValueError(f"{path} is not a run folder{reason}")
        return OwnedFolder(path, _lock(path), made=False)

    def commit(self) -> None:
        """Remove the run that this one replaces: this one has published a front."""
        if self._replaces:
            remove_tree(self.path / OVERWRITTEN)
            self._replaces = False

    @property
    def replaces(self) -> bool:
        """Return whether a run waits aside that this one replaces as soon as it has published a front."""
        return self._replaces

    def withdraw(self) -> None:
        """Undo what a run that failed has written, if nobody can use it: there is neither a front nor a checkpoint.

        A run that has diverged cannot be resumed; what it recorded is kept where it replaces no other run.
        """
        diverged = os.path.lexists(self.path / DIVERGENCE)
        kept = not self._replaces if diverged else checkpoint.newest(self.path) is not None
        if kept or os.path.lexists(self.path / FRONT):
            return
        _remove_contents(self.path)
        recover(self.path)
        with contextlib.suppress(OSError):  # it is not empty: the run that was to be replaced is back
            if self._made:
                self.path.rmdir()

    def release(self) -> None:
        """Give the folder up."""
        _unlock(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        """Return the folder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder up."""
        self.release()


@contextlib.contextmanager
def locked(path: Path, occupied: str) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs, as far as they lock it too.

    Args:
        path: the folder.
        occupied: the sentence of the error where another process is in it.

    Raises:
        FolderInUse: another process has locked it.
    """
    lock = _lock(path, occupied)
    try:
        yield
    finally:
        _unlock(lock)


def is_owned(path: Path) -> bool:
    """Return whether a process owns a folder, as far as locks show; the look itself takes microseconds."""
    if fcntl is None:
        return False
    for name in (".", LOCK_FILE):
        try:
            descriptor = os.open(path / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system that locks no folders
            continue
        finally:
            os.close(descriptor)
    return False


def clean_up(path: Path) -> None:
    """Remove what killed processes left half-made in a run folder; the caller owns it."""
    recover(path)
    publication.clean_up(path)
    for folder in (path, path / EVENTS):
        if folder.is_dir() and not folder.is_symlink():
            for entry in sorted(folder.iterdir()):
                if entry.name.startswith(".partial-") or entry.suffix == ".tmp":
                    remove_tree(entry)


def recover(path: Path) -> None:
    """Bring a run back that was put aside by one that died before it had results; the caller owns the folder.

    Where the new run has a checkpoint, but no front, both stay.
    """
    aside = path / OVERWRITTEN
    if not aside.is_dir() or aside.is_symlink():
        return
    if os.path.lexists(aside / CONFIG):  # all was moved: it is moved last and comes back first
        if os.path.lexists(path / FRONT):
            remove_tree(aside)
            return
        if checkpoint.newest(path) is not None:
            return
        _remove_contents(path)
    for entry in sorted(aside.iterdir(), key=lambda entry: entry.name != CONFIG):
        if not os.path.lexists(path / entry.name):
            rename(entry, path / entry.name)
    remove_tree(aside)


def _put_aside(path: Path) -> None:
    """Move everything in a folder into `.overwritten`; remove leftovers, and a run that is itself to replace one."""
    if (path / OVERWRITTEN).is_dir():
        _remove_contents(path)
        return
    entries = sorted(path.iterdir(), key=lambda entry: entry.name == CONFIG)
    has_config = any(entry.name == CONFIG for entry in entries)
    for entry in entries:
        if entry.name == LOCK_FILE:
            continue
        if has_config and not entry.name.startswith(LEFTOVERS):
            make_folder(path / OVERWRITTEN)
            rename(entry, path / OVERWRITTEN / entry.name)
        else:
            remove_tree(entry)


def _remove_contents(path: Path) -> None:
    """Remove everything in a folder but what waits aside; config.toml last, which shows what the folder is."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == CONFIG):
        if entry.name not in (OVERWRITTEN, LOCK_FILE):
            remove_tree(entry)
    remove(path / LOCK_FILE)


def _occupied(path: Path) -> str:
    """Return why no new run begins in the folder of a run, and what can be done."""
    choose = spoken("--run-dir", "run_dir=")
    replace = f"replace it with {spoken('--overwrite', 'overwrite=True')}"
    if os.path.lexists(path / DIVERGENCE):
        return f"run folder {path} holds a run whose learning has diverged: choose another {choose}, or {replace}"
    resume = how_to_resume(path)
    return f"run folder {path} exists: choose another {choose}, resume it with `{resume}`, or {replace}"


def _lock(path: Path, occupied: str | None = None) -> int | None:
    """Return a descriptor whose lock makes this process the owner; None where nothing can be locked.

    Args:
        path: the folder.
        occupied: the sentence of the error; default: that of a run folder.

    Raises:
        FolderInUse: another process has the lock.
    """
    if fcntl is None:
        return None
    for name, flags in ((".", os.O_RDONLY), (LOCK_FILE, os.O_RDWR | os.O_CREAT)):
        descriptor = -1
        try:
            descriptor = os.open(path / name, flags | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderInUse(
                occupied
                or f"run folder {path} is in use by another process that trains in it: wait for it, or choose another"
                f" folder with {spoken('--run-dir', 'run_dir=')}"
            ) from None
        except OSError as error:  # a network file system may lock files only, or nothing
            reason = error
            if descriptor >= 0:
                os.close(descriptor)
        else:
            return descriptor
    logging.getLogger("morl").warning(
        "folder %s cannot be locked (%s): start no second process that writes into it", path, reason
    )
    return None


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
