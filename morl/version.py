"""The version of this package, and the commit of its sources."""

from functools import cache
from pathlib import Path

VERSION = "0.1.0"


@cache
def source_commit() -> str | None:
    """Return the commit of the checkout that this package lies in; None where it was installed as a wheel.

    A "+" behind it says that files differ from that commit. It is asked for once a process.
    """
    import subprocess

    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # git would find the repository of a user whose .venv this package lies in
        return None
    words = ["git", "--no-optional-locks", "-C", str(root)]  # a commit of the user's may be in progress
    words += ["describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of another user
        return None
    return found.stdout.strip() or None
