"""The source folders at the top of the repository arrive where users import them: as parts of `morl`."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]


def packages_on_disk(package: str, folder: Path) -> Iterator[str]:
    for path, _, files in os.walk(folder):  # does not follow links
        if "__init__.py" in files:
            yield ".".join((package, *Path(path).relative_to(folder).parts))


def test_every_package_is_declared() -> None:
    found = {name for package, folder in FOLDERS.items() for name in packages_on_disk(package, ROOT / folder)}
    assert found == set(SETUPTOOLS["packages"])


@pytest.mark.parametrize("package", [name for name in FOLDERS if "." in name])
def test_checkout_link(package: str) -> None:
    link = ROOT.joinpath(*package.split("."))
    if not link.is_symlink():
        assert os.name == "nt", f"{link} must be a symbolic link (git config core.symlinks true)"
        pytest.skip("a checkout without symbolic links")
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / FOLDERS[package]


def test_no_link_is_broken() -> None:
    skipped = {".git", "runs", "build", "dist"}
    for path, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in skipped and not name.startswith(".venv")]
        for name in (*folders, *files):
            assert Path(path, name).exists(), f"{path}/{name} is a broken link"


def test_every_direct_dependency_is_pinned() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    # One exact public version each: no index, no hash, no "+cpu".
    assert all([(part.operator, "+" in part.version) for part in pin.specifier] == [("==", False)] for pin in pins)
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    assert len(versions) == len(pins)
    project = PYPROJECT["project"]
    for text in chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a source distribution, as a publisher does, from a copy: no stale build folder gets in."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("morl", "envs", "agents", "configs", ".editable"):
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (source / "dist").glob("*.whl")
    return path


def test_wheel_and_source_distribution_can_be_published(wheel: Path) -> None:
    """Their metadata is valid, and the first page renders where packages are shown."""
    pytest.importorskip("twine", reason="twine is not installed")
    files = sorted(wheel.parent.iterdir())
    assert {file.suffix for file in files} == {".whl", ".gz"}
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def sources() -> set[str]:
    """Return every file that must be in the wheel."""
    files = {"morl/py.typed"}
    for package, folder in FOLDERS.items():
        for path, folders, names in os.walk(ROOT / folder):
            folders[:] = [name for name in folders if name != "__pycache__"]
            inside = Path(*package.split("."), Path(path).relative_to(ROOT / folder))
            files |= {(inside / name).as_posix() for name in names if name.endswith((".py", ".toml", ".js", ".css"))}
    return files


def test_wheel_holds_all_sources_and_only_morl(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    installed = {name for name in names if ".dist-info/" not in name}
    assert installed == sources()
    assert {"morl/envs/__init__.py", "morl/agents/__init__.py", "morl/configs/__init__.py"} <= installed
    checker = Path(sys.executable).with_name("check-wheel-contents")
    checked = subprocess.run([checker, "--toplevel", "morl", wheel], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_installed_wheel_works_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path / "site"]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    code = """
import importlib, importlib.metadata, importlib.util, morl, sys
for package in sys.argv[2:]:
    module = importlib.import_module(package)
    assert module.__file__.startswith(sys.argv[1]), module.__file__
    bare = package.removeprefix("morl.").partition(".")[0]
    assert importlib.util.find_spec(bare) is None or package == "morl", package
script, tab = importlib.metadata.distribution("morl-suite").entry_points
assert (script.group, script.name, callable(script.load())) == ("console_scripts", "morl", True)
assert (tab.group, tab.load().plugin_name) == ("tensorboard_plugins", "pareto")
assert morl.__version__ == importlib.metadata.version("morl-suite")
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [
        sys.executable,
        "-W",
        "error::ImportWarning",
        "-c",
        code,
        str(tmp_path / "site"),
        *SETUPTOOLS["packages"],
    ]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
