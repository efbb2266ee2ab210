"""Code that a run folder names is not imported, unless the user says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toys

import morl
from morl.acting import Policy
from morl.utilities import UTILITIES

pytestmark = pytest.mark.usefixtures("without_figures")

EVIL = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
import morl.envs, toys
morl.envs.register("evil-fork-v0", toys.Fork, objectives=("left", "right"), reference_point=(-1.0, -1.0))
class Evil(toys.Coins): pass
"""
COMMAND = "from morl.experiment.cli import main; main()"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    toys.train(run, "toy-fork-v0", 100, agent="toys:Coins")
    return run


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """An unpacked archive: a run folder, and a module beside it."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "evil.py").write_text(EVIL)
    return tmp_path


def rename(folder: Path, **names: str) -> None:
    file = folder / "run" / "config.toml"
    text = file.read_text()
    for key, name in names.items():
        old = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(old, f'{key} = "{name}"')
    file.write_text(text)


def python_in(folder: Path, code: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run code in the folder, where its modules are found."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(toys.__file__).parent), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", code, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=200)


def morl_in(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in the folder."""
    return python_in(folder, COMMAND, *args)


ATTACKS = {
    "env": {"env": "evil:evil-fork-v0"},
    "agent": {"agent_name": "evil:Evil", "env": "toy-fork-v0"},
    "registered id": {"env": "evil:toy-fork-v0"},
}


LOOKS = """
from pathlib import Path
import morl
from morl.experiment.cli import main

for arguments in (["front", "run"], ["front", "run", "--html", "page.html"], ["front", "run", "--plot", "front.png"]):
    main(arguments)
    assert not Path("imported").exists(), arguments
run = morl.load("run")
run.metrics()
run.policy(row=0).predict(0)
print(run)
print("all looked")
"""
"""All looks in one process: a module that is imported leaves its mark the first time."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_looking_at_a_run_imports_nothing(attack: str, folder: Path) -> None:
    rename(folder, **ATTACKS[attack])
    finished = python_in(folder, LOOKS)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "all looked"
    assert not (folder / "imported").exists()


@pytest.mark.parametrize("command", [["evaluate", "run"], ["resume", "run", "--total-steps", "150"]])
def test_using_a_run_imports_only_what_is_trusted(command: list[str], folder: Path) -> None:
    rename(folder, env="evil:evil-fork-v0")
    refused = morl_in(folder, *command)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "evil:evil-fork-v0" in refused.stderr
    assert "--trust" in refused.stderr
    assert not (folder / "imported").exists()
    accepted = morl_in(folder, *command, "--trust")
    assert (folder / "imported").exists()
    if command[0] == "evaluate":
        assert accepted.returncode == 0, accepted.stderr
    else:  # the checkpoint is of another environment
        assert "foreign" in accepted.stderr


def test_an_agent_of_ones_own_is_resumed_with_trust(folder: Path) -> None:
    refused = morl_in(folder, "resume", "run", "--total-steps", "150")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "toys:Coins" in refused.stderr
    rename(folder, env="toys:toy-fork-v0")
    accepted = morl_in(folder, "resume", "run", "--total-steps", "150", "--trust")
    assert accepted.returncode == 0, accepted.stderr


def test_an_environment_that_is_given_is_trusted(folder: Path) -> None:
    rename(folder, env="evil:evil-fork-v0")
    run = morl.load(folder / "run", env="toy-fork-v0")
    assert run.evaluate(episodes=1).discounted.shape == run.front.points.shape
    with pytest.raises(ValueError, match="evil"):
        morl.load(folder / "run").evaluate(episodes=1)
    assert not (folder / "imported").exists()


def test_a_utility_that_a_policy_file_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_utility.py").write_text(EVIL + "from morl.utilities import linear as value\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = toys.train(tmp_path / "run", "toy-fork-v0", 100).directory
    original = morl.load(run).policy([0.5, 0.5]).data
    from dataclasses import replace

    from morl.experiment.publication import Publisher
    from morl.run_folder import parse_front

    record = parse_front((run / "front.json").read_bytes())
    odd: Any = replace(original, spec=replace(original.spec, utility="evil_utility:value"))
    Publisher(run).publish(record.to_json(), {0: odd.state_dict()})
    for use in (lambda loaded: loaded.policy([0.5, 0.5]).predict(0), lambda loaded: loaded.evaluate(episodes=1)):
        with pytest.raises(ValueError, match="evil_utility:value"):
            use(morl.load(run))
    assert not (tmp_path / "imported").exists()


def test_a_utility_that_a_file_names_alone_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_alone.py").write_text(
        EVIL + "def value(returns, preferences, ideal): return (returns * preferences).sum(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    policy = toys.train(tmp_path / "run", "toy-fork-v0", 100).policy([0.5, 0.5])
    from dataclasses import replace

    odd = Policy(replace(policy.data, spec=replace(policy.data.spec, utility="evil_alone:value")), policy.preference)
    odd.save(tmp_path / "policy.pt")
    with pytest.raises(ValueError, match=r"policy file .*policy.pt names the utility 'evil_alone:value'.*trust=True"):
        morl.load_policy(tmp_path / "policy.pt")
    assert morl.load_policy(tmp_path / "policy.pt", utility=UTILITIES["linear"]).predict(0)[0] in (0, 1)
    assert not (tmp_path / "imported").exists()
    morl.load_policy(tmp_path / "policy.pt", trust=True).predict(0)
    assert (tmp_path / "imported").exists()
