"""Type checkers in a user's project, outside the clone, after each documented way to install morl."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "morl", "envs", "agents", "configs", ".editable")

PROGRAM = """
import morl
from morl.agents import CMORL, CMORLConfig, check_agent
from morl.envs import check_env, register, specs
from morl.pareto import hypervolume

run = morl.train("pd-morl", "deep-sea-treasure-v0", total_steps=1e4, num_envs=8, config={"learning_rate": 1e-3})
policy = run.policy([0.5, 0.5], utility="tchebycheff")
reveal_type(run)
reveal_type(run.front)
reveal_type(policy)
reveal_type(policy.predict([0, 0])[0])
reveal_type(policy.predict([0, 0])[1])
reveal_type(morl.make_vec("deep-sea-treasure-v0", num_envs=8, seed=0))
reveal_type(morl.evaluate(policy, "deep-sea-treasure-v0"))
reveal_type(hypervolume([[1.0, 2.0]], [0.0, 0.0]))
reveal_type(CMORLConfig().learning_rate)


def watch(progress: morl.Progress) -> bool | None:
    reveal_type(progress.indicators)
    return progress.step > 1000


class Own(morl.Logger):
    def __init__(self, run: morl.LoggedRun) -> None:
        reveal_type(run.name)


morl.resume("runs/x", on_step=watch, loggers=["csv", morl.TensorBoard(), Own])
morl.train("pd-morl", "deep-sea-treasure-v0", on_step=watch, loggers=[morl.WandB(project="boats"), Own])
"""
REVEALED = [
    "Run",
    "Front",
    "Policy",
    "ndarray[tuple[Any, ...], dtype[Any]]",
    "ndarray[tuple[Any, ...], dtype[float64]] | ndarray[tuple[Any, ...], dtype[floating[_32Bit]]] | None",
    "MultiObjectiveVectorEnv",
    "Returns",
    "float",
    "float",
    "dict[str, float]",
    "str",
]
WRONG = """
import morl

morl.train("pd-morl", "deep-sea-treasure-v0", num_env=8)
morl.train("pd-morl", "deep-sea-treasure-v0", num_envs="many")
morl.train("pd-morl", "deep-sea-treasure-v0", on_step=lambda progress: "stop")
morl.train("pd-morl", "deep-sea-treasure-v0", loggers=[3])
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the sources: building writes into them."""
    folder = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has morl, installed in one of the documented ways, and sees this one's other packages."""
    home = tmp_path_factory.mktemp(request.param) / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    # Without --ignore-installed pip would remove the morl of the Python that runs the tests.
    options = ["--no-build-isolation", "--ignore-installed", "--prefix", str(home)]
    what = [str(clone)] if request.param == "wheel" else [*editable_options(), "--editable", str(clone)]
    installed = subprocess.run([*pip, *options, *what], capture_output=True, text=True)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    (site,) = home.glob("lib/python*/site-packages")
    others = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others) + "\n")
    return home / "bin" / "python"


def editable_options() -> list[str]:
    """Return how `make` installs the clone."""
    found = re.search(r"(--config-settings \S+)", (ROOT / "Makefile").read_text())
    assert found is not None
    return found[1].split()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "use.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    # torch is large and says nothing about morl's own types: checking it would take most of the time.
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")
    return tmp_path


def user_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}


def short(revealed: str) -> str:
    """Return a type without the modules that mypy names, in the spelling of both checkers."""
    plain = re.sub(r"\b(?:\w+\.)+(?=\w)", "", revealed)
    return plain.replace("builtins.", "").replace("numpy.", "")


def test_mypy_resolves_morl(python: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp() / "mypy-cache-of-users"
    command = [sys.executable, "-m", "mypy", "--python-executable", python, "--cache-dir", cache, "use.py", "wrong.py"]
    run = subprocess.run(command, cwd=project, env=user_environment(), capture_output=True, text=True)
    revealed = re.findall(r'^use.py:\d+: note: Revealed type is "(.*)"$', run.stdout, re.MULTILINE)
    assert [short(one) for one in revealed] == REVEALED, run.stdout + run.stderr
    errors = re.findall(r"^(\w+\.py):(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    found = list(dict.fromkeys((file, int(line)) for file, line, _ in errors))
    assert found == [("wrong.py", line) for line in (4, 5, 6, 7)], run.stdout


def test_pyright_resolves_morl(python: Path, project: Path) -> None:
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not on this machine (npm install pyright)")
    command = [pyright, "--pythonpath", str(python), "use.py", "wrong.py"]
    run = subprocess.run(command, cwd=project, env=user_environment(), capture_output=True, text=True)
    revealed = re.findall(r'use.py:\d+:\d+ - information: Type of ".*" is "(.*)"$', run.stdout, re.MULTILINE)
    assert [short(one) for one in revealed] == REVEALED, run.stdout + run.stderr
    errors = re.findall(r"(\w+\.py):(\d+):\d+ - error", run.stdout)
    found = list(dict.fromkeys((file, int(line)) for file, line in errors))
    assert found == [("wrong.py", line) for line in (4, 5, 6, 7)], run.stdout


def test_morl_and_nothing_else_can_be_imported(python: Path, tmp_path: Path) -> None:
    """An editable installation does not put the folders of the clone on the path, where they would hide a user's."""
    code = (
        "import importlib.util, morl.envs, morl.agents, morl.configs;"
        " names = [name for name in ('envs', 'agents', 'configs', 'benchmarks') if importlib.util.find_spec(name)];"
        " assert names == [], names"
    )
    run = subprocess.run([python, "-c", code], cwd=tmp_path, env=user_environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
