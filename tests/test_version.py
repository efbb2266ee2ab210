"""The commit that run folders name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASK = "from morl.version import source_commit; print(source_commit())"


def output(words: list[str], **given: object) -> str:
    """Return what a command prints."""
    return subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True, **given).stdout.strip()


def commit_in(folder: Path) -> str:
    """Return the commit that a copy of the package in a folder names."""
    env = os.environ | {"PYTHONPATH": str(folder)}
    return output([sys.executable, "-P", "-c", ASK], cwd=folder, env=env)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout_and_says_whether_files_differ(tmp_path: Path) -> None:
    sources = tmp_path / "project"
    (sources / "morl").mkdir(parents=True)
    for name in ("__init__.py", "version.py", "machine_code.py"):
        shutil.copy(ROOT / "morl" / name, sources / "morl")
    assert commit_in(sources) == "None"  # a wheel
    git = ["git", "-c", "user.name=a", "-c", "user.email=b", "-C", str(sources)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = output([*git, "rev-parse", "HEAD"])
    assert commit_in(sources) == commit[:12]
    (sources / "untracked").touch()
    assert commit_in(sources) == commit[:12]
    file = sources / "morl" / "version.py"
    file.write_text(file.read_text() + "\n")
    assert commit_in(sources) == f"{commit[:12]}+"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_repository_around_an_installed_package_is_not_its_own(tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "site-packages"
    (installed / "morl").mkdir(parents=True)
    for name in ("__init__.py", "version.py", "machine_code.py"):
        shutil.copy(ROOT / "morl" / name, installed / "morl")
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert commit_in(installed) == "None"
