"""Where compiled kernels are kept: beside their sources, or where that cannot be, in a folder that can be written.

Numba keeps machine code beside the source, or in the user's cache folder. Where neither can be written, as in many
containers and batch systems, its decorators raise; then a temporary folder is used.
"""

import logging
import os
import stat
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def ensure_cache() -> None:
    """Choose a folder for machine code where Numba would find none; the variable NUMBA_CACHE_DIR always wins.

    Worker processes inherit the choice. A line in the log says where the folder is.
    """
    if os.environ.get(VARIABLE):
        return
    package = Path(__file__).parent
    beside_sources = package / "__pycache__"
    if os.access(beside_sources if beside_sources.is_dir() else package, os.W_OK):
        return
    if _can_be_written(_users_folder()):
        return
    folder = _temporary_folder()
    os.environ[VARIABLE] = str(folder)
    logging.getLogger("morl").warning(
        "compiled code is kept in %s, because neither morl's folder nor a home folder can be written: set %s to keep it"
        " elsewhere",
        folder,
        VARIABLE,
    )


def _users_folder() -> Path:
    from numba.misc.appdirs import AppDirs

    return Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)  # type: ignore[no-untyped-call]


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_folder() -> Path:
    """Return a folder of this user's alone: what lies in it is run as code."""
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"morl-machine-code-{owner}"
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        if not _is_private(folder, owner):
            return Path(tempfile.mkdtemp(prefix="morl-machine-code-"))
    return folder


def _is_private(folder: Path, owner: int) -> bool:
    """Return whether a path is a folder, no link, that nobody but its owner can read or write."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077 and _can_be_written(folder)
    )
