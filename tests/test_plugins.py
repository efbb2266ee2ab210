"""Another package adds an agent and an environment: `pip install` is all it takes, and a broken one hurts nobody."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from morl.agents import AGENTS, agent_summaries, check_agent_name, find_agent
from morl.envs.core import registry
from morl.envs.core.registry import load_plugins
from morl.plugins import find_plugins, module_docstring

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the example package is installed into, without network."""
    source = tmp_path_factory.mktemp("source") / "package"  # a copy: building writes into it
    shutil.copytree(ROOT / "examples" / "third_party_package", source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    installed = subprocess.run([*pip, *options, str(source)], capture_output=True, text=True)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return target


class Done(NamedTuple):
    """What a command line printed."""

    code: int
    out: str
    err: str


RUN_ALL = """
import contextlib, io, json, sys
from morl.experiment.cli import main
done = []
for args in json.loads(sys.argv[1]):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(args)
        except SystemExit as stop:
            code = int(stop.code or 0)
    done.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""


def run_all(site: Path, *commands: tuple[object, ...], first: str = "") -> list[Done]:
    """Run command lines in one new process that has the packages of a folder.

    Args:
        site: the folder.
        commands: the words of each command line.
        first: Python that runs before them.
    """
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    words = json.dumps([[str(word) for word in command] for command in commands])
    command = [sys.executable, "-c", first + RUN_ALL, words]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site, timeout=280)
    assert run.returncode == 0, run.stderr
    return [Done(*one) for one in json.loads(run.stdout.splitlines()[-1])]


def test_an_installed_package_is_listed_and_trains(site: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--total-steps", "1600", "--evaluate-every", "800", "--run-dir", run, "--agent.rollout-steps", "8"]
    agents, env, shown, trained, resumed, front, evaluated = run_all(
        site,
        ("list", "agents"),
        ("list", "envs", "orchard"),
        ("train", "random-search", "orchard-v0", "--help"),
        ("train", "random-search", "orchard-v0", *options),
        ("resume", run, "--total-steps", "2400"),
        ("front", run),
        ("evaluate", run, "--preference", "0.5", "0.5", "--episodes", "2"),
    )
    assert "random-search" in agents.out
    assert "Random search: a network for each preference" in agents.out
    assert "(package morl-orchard)" in agents.out
    assert all(name in agents.out for name in AGENTS)
    assert "weight, sweetness" in env.out
    assert "registered by the package morl-orchard" in env.out
    assert "--agent.rollout-steps" in shown.out
    for done in (trained, resumed, front, evaluated):
        assert done.code == 0, done.err
        assert "sweetness" in done.out


def test_the_packages_agent_and_environment_keep_the_contracts(site: Path) -> None:
    checks = (
        "import morl.envs, morl.agents\n"
        "morl.envs.check_env('orchard-v0')\n"
        "morl.agents.check_agent(morl.agents.find_agent('random-search'))\n"
    )
    assert run_all(site, first=checks) == []


def install_broken(site: Path, folder: Path) -> None:
    """Write the metadata of a package none of whose entry points works."""
    shutil.copytree(site, folder)
    metadata = folder / "broken_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[morl.agents]\n"
        "gone = no_such_module:Agent\n"
        "wrong = broken_module.inside:Agent\n"
        "unfinished = unfinished_module:Agent\n"
        "c-morl = broken_module:Agent\n"
        "classless = broken_module:Missing\n"
        "module = broken_module\n"
        "[morl.envs]\n"
        "exits = broken_module\n"
        "raises = broken_function:register_envs\n"
        "renamed = broken_function:register\n"
    )
    (folder / "broken_module.py").write_text('"""Leaves."""\nraise SystemExit("no license")\n')
    (folder / "unfinished_module.py").write_text("def f(:\n")
    (folder / "broken_function.py").write_text("def register_envs():\n    raise KeyError('a\\nb')\n")


def test_broken_packages_hurt_nobody(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    install_broken(site, folder)
    options = ["--total-steps", "800", "--evaluate-every", "800", "--agent.rollout-steps", "8"]
    listed, envs, trained, own, failed = run_all(
        folder,
        ("list", "agents"),
        ("list", "envs", "orchard"),
        ("train", "random-search", "orchard-v0", "--run-dir", tmp_path / "run", *options),
        ("list", "envs", "deep-sea-treasure-v0"),
        ("train", "gone", "deep-sea-treasure-v0"),
    )
    assert [done.code for done in (listed, envs, trained, own, failed)] == [0, 0, 0, 0, 2], trained.err
    assert "random-search" in listed.out
    assert "gone" not in listed.out
    lines = listed.err.splitlines()
    left_out = "(morl.agents) of the package broken-package is left out:"
    assert [line.partition(" = ")[0] for line in lines] == [
        "the entry point c-morl",
        "the entry point classless",
        "the entry point gone",
        "the entry point module",
        "the entry point unfinished",
        "the entry point wrong",
    ]
    assert all(left_out in line for line in lines)
    assert lines[1].endswith("the module 'broken_module' has no 'Missing'")
    assert lines[2].endswith("there is no module 'no_such_module'")
    assert lines[3].endswith("it names a module, but must name a class, 'module:Class'")
    assert "weight, sweetness" in envs.out
    assert envs.err.splitlines() == [
        "the entry point exits = broken_module (morl.envs) of the package broken-package is left out: SystemExit: no"
        " license",
        "the entry point raises = broken_function:register_envs (morl.envs) of the package broken-package is left out:"
        r" KeyError: 'a\nb'",
        "the entry point renamed = broken_function:register (morl.envs) of the package broken-package is left out:"
        " AttributeError: module 'broken_function' has no attribute 'register'",
    ]
    assert failed.err.splitlines() == [
        "morl: agent is 'gone', which the package broken-package provides as 'no_such_module:Agent', but it cannot be"
        " imported: ModuleNotFoundError: No module named 'no_such_module'"
    ]


def test_looking_for_own_names_reads_no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training with what comes with morl neither waits for other packages nor imports them."""

    def refuse(group: str) -> None:
        raise AssertionError(group)

    monkeypatch.setattr("morl.agents.registry.find_plugins", refuse)
    monkeypatch.setattr("morl.envs.core.registry.find_plugins", refuse)
    check_agent_name("pd-morl")
    find_agent("c-morl")
    registry.find("deep-sea-treasure-v0")


def test_entry_points_are_found_without_an_import(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(site))
    (plugin,) = [one for one in find_plugins("morl.agents") if one.package == "morl-orchard"]
    assert (plugin.name, plugin.module) == ("random-search", "morl_orchard.agent")
    assert agent_summaries()["random-search"].startswith("Random search")
    assert module_docstring("morl_orchard.env").startswith("An orchard")
    check_agent_name("random-search")
    assert "morl_orchard" not in sys.modules
    with pytest.raises(ValueError, match="did you mean random-search"):
        check_agent_name("random-serch")
    load_plugins()
    load_plugins()
    assert registry.specs["orchard-v0"].source == "registered by the package morl-orchard"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class Agent: pass", True),
        ("def Agent(): pass", True),
        ("Agent = make()", True),
        ("try:\n    from other import Agent\nexcept ImportError:\n    pass", True),
        ("from other import Policy as Agent", True),
        ("from other import *", True),
        ("def __getattr__(name): pass", True),
        ("from other import Agent as Policy", False),
        ("class Agents: pass", False),
        ("print(Agent)", False),
    ],
)
def test_a_class_is_looked_for_in_the_source(source: str, found: bool, tmp_path: Path, monkeypatch: Any) -> None:
    name = f"module_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    if found:
        assert module_docstring(name, "Agent.inner") == ""
    else:
        with pytest.raises(ImportError, match=f"the module '{name}' has no 'Agent'"):
            module_docstring(name, "Agent")
