"""Presets, tuned files, tables merged key by key, and TOML that is read back equal."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

import morl
from morl.agents import find_agent
from morl.experiment import layers
from morl.experiment.settings import resolve_config, resolve_sources, to_toml
from morl.experiment.toml import plain_value, read_table, unset_names, write_table

pytestmark = pytest.mark.usefixtures("without_figures")


@dataclass(frozen=True, kw_only=True)
class PresetConfig:
    """Settings with presets, a table of text and a table of anything."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "plain": {},
        "paper": {"rate": 0.5, "sizes": (8, 8), "limit": None, "bounds": {"x": "> 1"}},
    }

    rate: float = 0.1
    """A number."""
    sizes: tuple[int, ...] = (4,)
    """Numbers."""
    limit: int | None = 7
    """A number, or none."""
    name: str = "a"
    """A text."""
    bounds: dict[str, str] = field(default_factory=dict)
    """A table of text."""
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    """A table of anything."""


class PresetCoins(toys.Coins):
    """Coins with settings that have presets."""

    config_class = PresetConfig  # type: ignore[assignment]

    def __init__(self, problem: Any, config: PresetConfig, *rest: Any) -> None:
        super().__init__(problem, toys.CoinConfig(), *rest)
        self.config = config


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "tuned.toml"
    monkeypatch.setattr(layers, "tuned_file", lambda agent, env: file if file.exists() else None)
    return file


def resolved(*sources: Any) -> Any:
    return resolve_sources(PresetConfig, "coins", "toy-walk-v0", sources)


# --- Presets ----------------------------------------------------------------------------------------------------------


def test_a_preset_lies_between_defaults_and_tuned_file(tuned: Path) -> None:
    assert resolved({}).settings.agent == PresetConfig()
    paper = resolved({"agent": {"preset": "paper"}})
    assert paper.preset == "paper"
    assert paper.settings.agent == PresetConfig(rate=0.5, sizes=(8, 8), limit=None, bounds={"x": "> 1"})
    tuned.write_text('total_steps = 60\n[agent]\npreset = "paper"\nrate = 0.25\n')
    for chosen in ({"agent": {"preset": "paper"}}, {}, ["--agent.preset", "paper"], ["--agent.preset=paper"]):
        found = resolved(chosen)
        assert (found.preset, found.settings.total_steps) == ("paper", 60)
        assert (found.settings.agent.rate, found.settings.agent.sizes) == (0.25, (8, 8))
    changed = resolved({"agent": {"preset": "paper", "rate": 0.75}}, ["--agent.sizes", "1", "2"])
    assert (changed.settings.agent.rate, changed.settings.agent.sizes) == (0.75, (1, 2))


def test_a_tuned_file_counts_for_its_preset_only(tuned: Path) -> None:
    tuned.write_text('total_steps = 60\n[agent]\npreset = "paper"\nrate = 0.25\n')
    other = resolved(["--agent.preset", "plain"])
    assert (other.preset, other.settings.total_steps, other.settings.agent) == ("plain", 60, PresetConfig())
    tuned.write_text("total_steps = 60\n[agent]\nrate = 0.25\n")  # tuned for the defaults, which `plain` is
    assert resolved({}).settings.agent.rate == resolved({"agent": {"preset": "plain"}}).settings.agent.rate == 0.25
    assert resolved({"agent": {"preset": "paper"}}).settings.agent.rate == 0.5


def test_flags_choose_over_files() -> None:
    assert resolved({"agent": {"preset": "paper"}}, ["--agent.preset", "plain"]).preset == "plain"


def test_an_unknown_preset_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^preset is 'papper', but must be one of coins's presets, such as paper$"):
        resolved(["--agent.preset", "papper"])
    with pytest.raises(ValueError, match=r"^preset is 'paper', but coins has no presets for this environment$"):
        resolve_sources(toys.CoinConfig, "coins", "toy-walk-v0", [["--agent.preset", "paper"]])
    with pytest.raises(ValueError, match=r"--agent\.preset needs a value"):
        resolved(["--agent.preset"])


def test_the_run_folder_names_the_preset_and_resumes(tmp_path: Path, morl_cli: Any) -> None:
    agent = f"{__name__}:PresetCoins"
    if agent.partition(":")[0] not in __import__("sys").modules:
        pytest.skip("this module cannot be imported by its name")
    run = morl.train(
        agent, "toy-walk-v0", total_steps=50, run_dir=tmp_path / "run", config={"preset": "paper"}, **toys.SCHEDULE
    )
    table = tomllib.loads((run.directory / "config.toml").read_text())["agent"]
    assert (table["preset"], table["rate"], table["sizes"]) == ("paper", 0.5, [8, 8])
    assert "limit" not in table
    again = morl.resume(run.directory, 100)
    assert again.settings.agent == run.settings.agent
    assert again.settings.agent.limit is None
    assert tomllib.loads((run.directory / "config.toml").read_text())["agent"] == table


def test_help_names_the_presets(morl_cli: Any) -> None:
    _, shown, _ = morl_cli("train", "pd-morl", "water-reservoir-v0", "--help")
    assert "--agent.preset NAME" in shown
    assert "paper" in shown
    _, shown, _ = morl_cli("train", "toys:Coins", "toy-walk-v0", "--help")
    assert "has no presets" in shown


@pytest.mark.parametrize(
    ("agent", "env"), [("pd-morl", "water-reservoir-v0"), ("morl-d", "water-reservoir-v0"), ("morl-d", "toy-walk-v0")]
)
def test_every_preset_is_settings(agent: str, env: str) -> None:
    config_class = find_agent(agent, morl.envs.problem(env).action_space).config_class
    assert layers.presets_of(config_class)
    for name in layers.presets_of(config_class):
        found = resolve_sources(config_class, agent, "no-such-environment", [{"agent": {"preset": name}}])
        assert found.preset == name
        text = to_toml(found.settings, agent, env, name)
        entries = asdict(found.settings)
        unset = {key for key, value in entries.items() if value is None}
        assert unset_names(text) == unset | {f"agent.{key}" for key, value in entries["agent"].items() if value is None}
        assert resolve_config(config_class, agent, tomllib.loads(text)) == found


# --- Tables -----------------------------------------------------------------------------------------------------------

WORDS = ("1", "007", "1_000", "1e5", "nan", "infinity", "True", "-x", "--seed", "None", "", " ", "a=b")


@pytest.mark.parametrize("word", WORDS)
def test_typed_values_keep_their_type(word: str) -> None:
    found = resolved({"env_options": {"mode": word, "depth": 7}, "agent": {"options": {"mode": word, "fine": True}}})
    assert found.settings.env_options == {"mode": word, "depth": 7}
    assert found.settings.agent.options == {"mode": word, "fine": True}
    read = resolve_config(PresetConfig, "coins", tomllib.loads(to_toml(found.settings, "coins", "toy-walk-v0")))
    assert read.settings == found.settings


def test_words_of_the_command_line_are_read_as_toml() -> None:
    given: dict[str, Any] = {
        "7": 7, "007": "007", "0.5": 0.5, "1e5": 1e5, "true": True, "True": True, "False": False, "map-a": "map-a",
        '"7"': "7", "-x": "-x", "1979-05-27": "1979-05-27", "[1]": "[1]", "a\nb": "a\nb", "": "", "1 # x": "1 # x",
    }  # fmt: skip
    for word, value in given.items():
        assert (plain_value(word), type(plain_value(word))) == (value, type(value))


def test_tables_are_merged_key_by_key(tuned: Path) -> None:
    tuned.write_text('[env_options]\na = 1\nb = 1\n[agent.bounds]\nx = "tuned"\ny = "tuned"\n')
    flags = [
        "--env-options",
        "c",
        "3",
        "d",
        "3",
        "--seed",
        "2",
        "--env_options",
        "d",
        "-x",
        "--agent.bounds",
        "z",
        "> 3",
    ]
    found = resolved({"env_options": {"b": 2, "c": 2}, "agent": {"bounds": {"y": "file"}}}, flags)
    assert found.settings.env_options == {"a": 1, "b": 2, "c": 3, "d": "-x"}
    assert found.settings.agent.bounds == {"x": "tuned", "y": "file", "z": "> 3"}
    assert found.settings.seed == 2


@pytest.mark.parametrize(
    "table", [{"env_options": 3}, {"env_options": [1]}, {"agent": 3}, {"env_options": {"a": None}}]
)
def test_what_is_no_table_is_refused(table: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(table))):
        resolved(table)


def test_a_key_without_value_is_refused() -> None:
    with pytest.raises(ValueError, match="--env-options has depth without a value"):
        resolved(["--env-options", "depth"])


def test_entries_of_text_are_given_once_and_keep_their_signs() -> None:
    with pytest.raises(ValueError, match=r"--agent\.bounds has 'x' twice"):
        resolved(["--agent.bounds", "x", ">= -7", "x", "<= -3"])
    with pytest.raises(ValueError, match="bounds has x = '-7', but neither may begin with a minus sign"):
        resolved({"agent": {"bounds": {"x": "-7"}}})
    with pytest.raises(ValueError, match="bounds has -x = '> 3', but neither may begin with a minus sign"):
        resolved({"agent": {"bounds": {"-x": "> 3"}}})


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbftotal_steps = 300\n")
    assert resolved(read_table(tmp_path / "s.toml")).settings.total_steps == 300


# --- TOML -------------------------------------------------------------------------------------------------------------

CHARACTERS = st.characters(exclude_categories=["Cs"])  # halves of surrogate pairs
ODD = ("\n", '"', "\\", "größe", "a.b", "# x", "\x7f", "\x00", "'''", "é\u2028")
TEXT = st.text(CHARACTERS, max_size=8) | st.sampled_from(ODD)
PLAIN = st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(table=st.dictionaries(TEXT, VALUES, max_size=5))
def test_what_is_written_is_read_back_equal(table: dict[str, Any]) -> None:
    text = write_table(table)
    # Empty tables are left out, and so are tables inside sections that are empty: a setting's default is the same.
    expected = {key: value for key, value in table.items() if value != {}}
    read = tomllib.loads(text)
    assert read == expected
    assert repr(read) == repr({key: expected[key] for key in read})


def test_numbers_of_numpy_and_paths_are_plain() -> None:
    table = {"a": np.float64(0.5), "b": np.int64(3), "c": np.array([1.0, 2.0]), "d": Path("x/y"), "e": np.bool_(True)}
    assert tomllib.loads(write_table(table)) == {"a": 0.5, "b": 3, "c": [1.0, 2.0], "d": "x/y", "e": True}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", "\ud800", [None]])
def test_what_toml_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x is .*what a TOML file can hold"):
        write_table({"x": value})


@pytest.mark.parametrize("options", [{"map": "SF\nFG"}, {"größe": 3}, {"a b": "\t"}, {"é": "\u2028"}])
def test_a_run_with_odd_options_is_read_back(options: dict[str, Any], tmp_path: Path) -> None:
    def build(**given: Any) -> toys.Walk:
        assert given == options
        return toys.Walk()

    run = toys.train(tmp_path / "run", build, 50, env_options=options)
    assert morl.load(run.directory, env=build).settings.env_options == options
    assert toys.front(run.directory)["env_options"] == options
