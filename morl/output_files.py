"""Files and folders that a user names: `~` is the home folder, and those for output are checked before any work.

A complaint is one sentence: the setting, the path, and what would be right.
"""

import os
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".pdf", ".svg")
"""How the names of files end that a figure can be written to."""


def checked_path(setting: str, path: object) -> Path:
    """Return a path that a user has given, for reading or writing, with the home folder in the place of a leading `~`.

    Not every path comes from a shell, which expands it. An empty path, which `Path` takes for the current folder, is
    none.

    Args:
        setting: what the caller names it, such as "run_dir" or "--run-dir".
        path: the path.

    Raises:
        ValueError: it is empty, has a character that no path has, or begins with a home folder that does not exist.
        TypeError: it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{setting} is {path!r:.100}, but must be a path")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"{setting} is {text!r}, but must be a path{', without null characters' if text else ''}")
    expanded = Path(os.path.expanduser(text))
    if str(expanded).startswith("~"):
        raise ValueError(
            f"{setting} is {text!r}, but there is no home folder {expanded.parts[0]}: give an absolute path for a"
            " name that begins with ~"
        )
    return expanded


def check_output_file(setting: str, path: str | Path, suffixes: Collection[str] = ()) -> Path:
    """Return the path of a file that can be written, as far as that can be seen before.

    Args:
        setting: what the caller names it, such as "plot" or "--plot".
        path: of the file; one that exists will be replaced.
        suffixes: those that the file may have, such as ".png", in small or capital letters; none: any.

    Raises:
        ValueError: it has another suffix or no name before it, is something else than a file, or its folder is missing
            or cannot be written to.
        TypeError: it is no path.
    """
    file = checked_path(setting, path)
    says = f"{setting} is {str(path)!r}, but"
    if file.name.lower() in suffixes:
        raise ValueError(f"{says} must have a name before its suffix, such as 'name{file.name}'")
    if suffixes and file.suffix.lower() not in suffixes:
        raise ValueError(f"{says} must end in {_listed(suffixes)}")
    folder = file.parent
    if not os.path.isdir(folder):
        raise ValueError(f"{says} {folder} is not a folder: make it first, or name a file in another one")
    kind = _kind(says, file)
    if not file.name or stat.S_ISDIR(kind):
        raise ValueError(f"{says} must be the path of a file, and this is a folder")
    if kind and not stat.S_ISREG(kind):
        raise ValueError(f"{says} must be the path of a file, and this is a device, a pipe or a socket")
    _check_folder(says, folder)
    return file


def checked_folder(setting: str, path: str | Path) -> Path:
    """Return the path of a folder that a user has given; it and those above it may be missing.

    Args:
        setting: what the caller names it, such as "folder" or "--folder".
        path: of the folder.

    Raises:
        ValueError: nothing can be there.
        FileExistsError: it exists and is no folder.
        TypeError: it is no path.
    """
    folder = checked_path(setting, path)
    _lowest_folder(f"{setting} is {str(path)!r}, but", folder)
    return folder


def check_output_folder(setting: str, path: str | Path) -> Path:
    """Return the path of a folder that can be written to, or made, as far as that can be seen before.

    Args:
        setting: what the caller names it, such as "run_dir" or "--run-dir".
        path: of the folder; it and those above it may be missing.

    Raises:
        ValueError: it cannot be made or written to.
        FileExistsError: it exists and is no folder.
        TypeError: it is no path.
    """
    folder = checked_path(setting, path)
    says = f"{setting} is {str(path)!r}, but"
    _check_folder(says, _lowest_folder(says, folder))
    return folder


def _lowest_folder(says: str, folder: Path) -> Path:
    """Return a folder, or the lowest one above it that exists.

    Args:
        says: how the complaint begins.
        folder: that may be missing.

    Raises:
        ValueError: one above it cannot be a folder.
        FileExistsError: it exists and is no folder.
    """
    folders = (folder, *folder.parents)
    for above in folders:
        kind = _kind(says, above)
        if kind and not stat.S_ISDIR(kind):
            error = FileExistsError if above == folder else ValueError
            raise error(f"{says} {above} exists and is no folder: name another one")
        if kind:
            return above.absolute()
    return folders[-1].absolute()


def _kind(says: str, path: Path) -> int:
    """Return the kind of what is at a path, behind links; 0 where there is nothing.

    Args:
        says: how the complaint begins.
        path: to look at.

    Raises:
        ValueError: nothing can be there.
    """
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise ValueError(f"{says} {path} is a link to nothing: name another path") from None
        return 0
    except OSError as error:
        raise ValueError(f"{says} nothing can be written there ({error.strerror}): name another path") from error


def _check_folder(says: str, folder: Path) -> None:
    """Check that a folder can be written to, with a file that has no name.

    Args:
        says: how the complaint begins.
        folder: that exists.

    Raises:
        ValueError: it cannot.
    """
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"{says} nothing can be written in {folder} ({reason}): name a path elsewhere") from error


def _listed(words: Collection[str]) -> str:
    *some, last = words
    return f"{', '.join(some)} or {last}" if some else last
