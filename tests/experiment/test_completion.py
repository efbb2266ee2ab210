"""`morl --install-completion`: scripts that each shell accepts, written where it looks, and what they complete."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from morl.experiment.completion import SHELLS, candidates

# command line up to the cursor -> words that must be offered, words that must not
LINES: dict[str, tuple[set[str], set[str]]] = {
    "morl ": ({"train", "resume", "evaluate", "export", "front", "board", "list"}, {"pd-morl"}),
    "morl tra": ({"train"}, {"resume"}),
    "morl train ": ({"pd-morl", "c-morl", "morl-d", "gmorl"}, {"train"}),
    "morl train pd-morl deep-sea": ({"deep-sea-treasure-v0", "deep-sea-treasure-concave-v0"}, {"minecart-v0"}),
    "morl train pd-morl minecart-v0 --agent.le": ({"--agent.learning-rate"}, {"--agent.batch-size"}),
    "morl train c-morl minecart-v0 --agent.so": ({"--agent.solver"}, set()),
    "morl train pd-morl minecart-v0 --agent.so": (set(), {"--agent.solver"}),
    "morl train c-morl minecart-v0 --agent.solver ": ({"ipo", "cpo"}, {"--seed"}),
    "morl train c-morl minecart-v0 --agent.preset ": ({"paper"}, {"--seed"}),
    "morl train pd-morl minecart-v0 --overwrite --dev": ({"--device"}, set()),
    "morl train pd-morl minecart-v0 --device ": ({"auto", "cpu", "cuda"}, set()),
    "morl train pd-morl minecart-v0 --seed ": (set(), {"--device", "auto"}),
    "morl train my_module:Agent minecart-v0 --tot": ({"--total-steps"}, set()),
    "morl list ": ({"agents", "envs", "configs"}, set()),
    "morl list envs mine": ({"minecart-v0"}, set()),
    "morl evaluate run --utility ": ({"tchebycheff"}, set()),
    "morl export run --utility ": ({"tchebycheff"}, set()),
    "morl export run --format ": ({"onnx", "torchscript", "pt"}, set()),
    "morl front --pl": ({"--plot"}, set()),
    "morl front some-f": ({"some-folder"}, {"--plot"}),
    "morl study s": ({"status", "some-folder"}, {"table"}),
    "morl study status some-f": ({"some-folder"}, {"status"}),
    "morl study --dr": ({"--dry-run"}, set()),
    "morl tune some-f": ({"some-folder"}, set()),
    "morl train pd-morl minecart-v0 --config some-f": ({"some-folder"}, set()),
    "morl --install-completion ": ({"bash", "zsh", "fish"}, set()),
}

BASH = """
source "$1"
COMP_LINE="$2"
COMP_POINT=${#COMP_LINE}
_morl
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
compadd() { shift; for one in "$@"; do [[ "$one" == "$words[CURRENT]"* ]] && print -r -- "$one"; done; true }
_files() { print -r -- $words[CURRENT]*(N) }
words=("${(@s: :)2}")
CURRENT=$#words
source "$1"
"""
FISH = "source $argv[1]; complete -C $argv[2] | string split -f 1 \\t | string trim -r -c /"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = candidates()
    folder = tmp_path_factory.mktemp("scripts")
    paths = {}
    for name, shell in SHELLS.items():
        paths[name] = folder / f"morl.{name}"
        paths[name].write_text(shell.script(found))
    return paths


def shell_or_skip(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    return path


@pytest.mark.parametrize("name", SHELLS)
def test_the_shell_accepts_its_script(name: str, scripts: dict[str, Path]) -> None:
    checked = subprocess.run([shell_or_skip(name), "-n", scripts[name]], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", SHELLS)
def test_a_completion(name: str, line: str, scripts: dict[str, Path], tmp_path: Path) -> None:
    shell = shell_or_skip(name)
    (tmp_path / "some-folder").mkdir()
    options = {"bash": ["--norc", "-c", BASH, "_"], "zsh": ["-fc", ZSH, "_"], "fish": ["--no-config", "-c", FISH]}
    run = subprocess.run(
        [shell, *options[name], scripts[name], line], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert run.stderr == ""
    offered = {word.rstrip("/") for word in run.stdout.split()}
    wanted, unwanted = LINES[line]
    assert wanted <= offered
    assert not unwanted & offered


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_is_written_where_the_shell_looks_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    places = {
        "bash": ".local/share/bash-completion/completions/morl",
        "zsh": ".local/share/zsh/site-functions/_morl",
        "fish": ".config/fish/completions/morl.fish",
    }
    for _ in range(2):  # writing it again replaces it
        code, shown, complaint = morl_cli("--install-completion", name)
        assert (code, complaint) == (0, "")
    assert str(tmp_path / places[name]) in shown
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / places[name]]
    assert "pd-morl" in (tmp_path / places[name]).read_text()


def test_the_shell_of_the_user_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("SHELL", "/usr/local/bin/fish")
    assert morl_cli("--install-completion")[0] == 0
    assert (tmp_path / "settings/fish/completions/morl.fish").is_file()


@pytest.mark.parametrize("args", [["tcsh"], ["bash", "zsh"], []])
def test_a_shell_that_is_unknown(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/ksh")
    code, _, complaint = morl_cli("--install-completion", *args)
    assert (code, complaint.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []
