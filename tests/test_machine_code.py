"""Kernels find a folder for their machine code wherever morl is installed, and never one that others can write."""

import os
from pathlib import Path

import pytest

from morl import machine_code
from morl.machine_code import VARIABLE, ensure_cache


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where neither the package nor a home can be written; returns its temporary folder."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (tmp_path / "file").touch()
    monkeypatch.setattr(machine_code, "_users_folder", lambda: tmp_path / "file" / "cache")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(machine_code.tempfile, "gettempdir", lambda: str(temporary))
    monkeypatch.setattr(machine_code.tempfile, "tempdir", str(temporary))
    return temporary


def test_a_temporary_folder_is_used_and_named(nowhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    ensure_cache()
    folder = Path(os.environ[VARIABLE])
    assert folder.parent == nowhere
    assert folder.stat().st_mode & 0o077 == 0
    assert str(folder) in caplog.text
    del os.environ[VARIABLE]
    ensure_cache()
    assert os.environ[VARIABLE] == str(folder)  # the next process finds what this one compiled


@pytest.mark.parametrize("trap", ["open to all", "link", "file"])
def test_a_folder_that_somebody_else_prepared_is_not_used(nowhere: Path, trap: str) -> None:
    path = nowhere / f"morl-machine-code-{os.getuid()}"
    if trap == "open to all":
        path.mkdir()
        path.chmod(0o777)
    elif trap == "link":
        (nowhere / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(nowhere / "elsewhere")
    else:
        path.touch()
    ensure_cache()
    folder = Path(os.environ[VARIABLE])
    assert folder != path
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("where", ["variable", "package", "home"])
def test_nothing_is_changed_where_numba_finds_a_folder(
    where: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "variable":
        monkeypatch.setenv(VARIABLE, "/mine")
    elif where == "package":
        monkeypatch.setattr(os, "access", lambda path, mode: True)
    else:
        monkeypatch.setattr(machine_code, "_users_folder", lambda: nowhere / "home" / "cache")
    ensure_cache()
    assert os.environ.get(VARIABLE) == ("/mine" if where == "variable" else None)
