"""`morl COMMAND --help`: every option, in groups, with the defaults of the environment, at any width."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import morl.envs
from morl.agents import AGENTS, find_agent
from morl.experiment.commands import SCHEMAS, Train
from morl.experiment.options import field_docstrings, options_of, spelled_value
from morl.experiment.parsing import _option_names
from morl.experiment.settings import Settings

CONFIGS = Path(__file__).parents[2] / "configs"
WIDTHS = ["60", "80", "200"]


def test_train_explains_its_arguments_and_groups_its_options(morl_cli: Any) -> None:
    code, shown, complaint = morl_cli("train", "--help")
    assert (code, complaint) == (0, "")
    lines = shown.splitlines()
    assert lines[0] == "usage: morl train AGENT ENV [options]"
    for name in AGENTS:
        assert re.search(rf"^    {name}\b", shown, re.MULTILINE)
    assert "morl list envs" in shown
    for title in ("Run", "Training", "Environment", "Evaluation", "Examples"):
        assert title in lines
    for one in options_of(Settings):
        assert one.name == "agent" or f"  {one.flag}" in shown


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_alone_has_help(agent: str, morl_cli: Any) -> None:
    code, shown, complaint = morl_cli("train", agent, "--help")
    assert (code, complaint) == (0, "")
    assert f"Settings of {agent}" in shown
    options = options_of(find_agent(agent).config_class, "agent.")
    for one in options:
        assert one.text
        assert re.search(rf"^  {one.flag}\b", shown.replace("--agent.no-", "--agent."), re.MULTILINE)
    presets = getattr(find_agent(agent).config_class, "PRESETS", {})
    assert all(name in shown for name in presets)


@pytest.mark.parametrize(
    ("agent", "env"),
    [
        ("pd-morl", "deep-sea-treasure-v0"),
        ("pd-morl", "pgmorl-swimmer-v0"),
        ("c-morl", "cmorl-hopper-2d-v0"),
        ("morl-d", "deep-sea-treasure-concave-v0"),
    ],
)
def test_the_defaults_are_those_that_are_tuned(agent: str, env: str, morl_cli: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    file = CONFIGS / agent.replace("-", "_") / f"{env}.toml"
    table = tomllib.loads(file.read_text())
    code, shown, complaint = morl_cli("train", agent, env, "--help")
    assert (code, complaint) == (0, "")
    shown = " ".join(shown.split())
    assert f"configs/{agent.replace('-', '_')}/{env}.toml" in shown
    checked = 0
    tuned = {f"--{name}": value for name, value in table.items() if name != "agent"}
    tuned |= {f"--agent.{name}": value for name, value in table.get("agent", {}).items() if name != "preset"}
    config_class = find_agent(agent, morl.envs.problem(env).action_space).config_class
    adapted = getattr(config_class(), "schedules", lambda steps: {})(table.get("total_steps", 100_000))
    for name, value in tuned.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool) or name.rpartition(".")[2] in adapted:  # a run shortens schedules that are too long
            continue
        entry = re.search(rf"{re.escape(flag)} [^\[]*\[default: ([^\]]*)\]", shown)
        assert entry, flag
        assert entry[1].partition(";")[0] == spelled_value(value), flag
        checked += 1
    assert checked > 3


def test_flags_before_help_count(morl_cli: Any) -> None:
    shown = " ".join(
        morl_cli("train", "c-morl", "toys:toy-fork-v0", "--agent.preset", "paper", "--seed", "7", "--help")[1].split()
    )
    assert "the preset paper" in shown
    assert "[default: 7; elsewhere 0]" in shown
    assert "[default: 4096; elsewhere 512]" in shown  # samples_per_update
    shown = morl_cli("train", "pd-morl", "toys:toy-fork-v0", "--agent.one-hot", "--help")[1]
    assert "--agent.no-one-hot" in shown


@pytest.mark.parametrize("command", [name for name in SCHEMAS if name != "train"])
def test_every_command_has_help(command: str, morl_cli: Any) -> None:
    code, shown, complaint = morl_cli(command, "--help")
    assert (code, complaint) == (0, "")
    assert shown.startswith(f"usage: morl {command} ")
    assert "Examples" in shown
    known = {name for name in _option_names(SCHEMAS[command]) if not name.startswith("--no-")}
    assert known <= set(re.findall(r"--[\w-]+", shown))


@pytest.mark.parametrize("agent", AGENTS)
def test_help_and_parser_know_the_same_options(agent: str) -> None:
    config_class = find_agent(agent).config_class
    schema: Any = Train[config_class]
    own = [one for one in options_of(Train) if one.name not in ("agent_name", "env", "settings")]
    every = [*own, *options_of(Settings), *options_of(config_class, "agent.")]
    flags = {one.flag for one in every if one.name != "agent"} | {"--help"}
    parsed = {name for name in _option_names(schema) if not re.match(r"--(agent\.)?no-", name)}
    assert parsed == flags


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("args", [["train"], ["train", "morl-d", "toys:toy-fork-v0"], ["evaluate"]])
def test_help_fits_the_terminal(width: str, args: list[str], morl_cli: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", width)
    shown = morl_cli(*args, "--help")[1]
    prose = shown.partition("\nExamples\n")[0].splitlines()
    too_long = [line for line in prose if len(line) > int(width) and len(line.split()) > 2]
    assert too_long == []


@pytest.mark.parametrize(
    "args",
    [
        [],
        *([command] for command in SCHEMAS),
        *(["train", agent] for agent in AGENTS),
        ["train", "pd-morl", "toys:toy-continuous-walk-v0"],
        ["train", "c-morl", "toys:toy-fork-v0"],
        ["train", "morl-d", "toys:toy-fork-v0"],
    ],
    ids=" ".join,
)
def test_every_line_of_help_fits_into_80_columns(args: list[str], morl_cli: Any, monkeypatch: Any) -> None:
    """Examples too, which are not wrapped: people copy them."""
    monkeypatch.setenv("COLUMNS", "80")
    code, shown, _ = morl_cli(*args, "--help")
    assert code == 0
    lines = shown.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if len(line) > 80] == []


def test_a_name_that_is_unknown_gets_help_too(morl_cli: Any) -> None:
    for args in (["pd-mrol"], ["pd-mrol", "toys:toy-fork-v0"]):
        code, _, complaint = morl_cli("train", *args, "--help")
        assert (code, complaint.count("\n")) == (2, 1)
        assert all(name in complaint for name in AGENTS)
        assert "did you mean pd-morl?" in complaint
    code, _, complaint = morl_cli("train", "pd-morl", "hopper", "--help")
    assert (code, complaint.count("\n")) == (2, 1)
    assert "mo-hopper-v5" in complaint


def test_docstrings_of_fields_are_found_through_bases() -> None:
    texts = field_docstrings(find_agent("pd-morl").config_class)
    assert "Adam's step size." in texts["learning_rate"]
    assert all("\n" not in text for text in texts.values())
