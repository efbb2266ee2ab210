"""Ranges in files, and the shipped search spaces: their names and values are settings that exist and work."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from morl.agents import find_agent
from morl.envs.core.registry import problem
from morl.studies.search_spaces import AGENT, Choice, Range, default_space, parse_ranges
from morl.studies.tuning_plan import read_tuning

AGENTS_AND_ENVS = [
    ("pd-morl", "deep-sea-treasure-concave-v0"),
    ("pd-morl", "lab/linear-quadratic-2-v0"),
    ("c-morl", "deep-sea-treasure-concave-v0"),
    ("c-morl", "lab/linear-quadratic-2-v0"),
    ("morl-d", "deep-sea-treasure-v0"),
    ("morl-d", "lab/linear-quadratic-2-v0"),
]
STEPS = (12_000, 1_000_000)


@pytest.mark.parametrize("total_steps", STEPS)
@pytest.mark.parametrize(("agent_name", "env"), AGENTS_AND_ENVS)
def test_shipped_names_are_settings_of_the_agent(agent_name: str, env: str, total_steps: int) -> None:
    action_space = problem(env).action_space
    space = default_space(agent_name, type(action_space).__name__, total_steps)
    names = {f"{AGENT}{one.name}" for one in fields(find_agent(agent_name, action_space).config_class)}
    assert len(space) >= 8
    assert set(space) <= names


@pytest.mark.parametrize(("agent_name", "env"), AGENTS_AND_ENVS)
def test_shipped_values_work(agent_name: str, env: str, tmp_path: Path) -> None:
    """`read_tuning` builds an agent with every end of every range, and with all lowest and all highest values."""
    run = {"num_envs": 6} if agent_name == "morl-d" else {}
    table: dict[str, Any] = {"name": "t", "agents": [agent_name], "envs": [env], "seeds": 1, "total_steps": 12_000}
    tuning = read_tuning({**table, "run": run, "tune": {"space": "default"}}, tmp_path)
    assert len(tuning.space) >= 8
    assert not list(tmp_path.iterdir())


def test_a_default_lies_in_its_shipped_range() -> None:
    """A range that leaves out the default searches somewhere else; schedules depend on the run, and are exempt."""
    for agent_name, env in AGENTS_AND_ENVS:
        action_space = problem(env).action_space
        defaults = find_agent(agent_name, action_space).config_class()
        for name, one in default_space(agent_name, type(action_space).__name__, 100_000).items():
            value = getattr(defaults, name.removeprefix(AGENT))
            if value is None or name.endswith(("_steps", "_every", "learning_starts")):
                continue
            inside = value in one.values if isinstance(one, Choice) else one.low <= value <= one.high
            assert inside, (agent_name, name, value)


def test_ranges_of_a_file() -> None:
    space = parse_ranges(
        {
            "num_envs": {"low": 4, "high": 16},
            "agent": {
                "learning_rate": {"low": 1e-4, "high": 1, "log": True},
                "hidden_sizes": [[32], [64, 64]],
                "critics": [1, 2],
            },
        }
    )
    assert space == {
        "num_envs": Range(4, 16),
        "agent.learning_rate": Range(1e-4, 1.0, log=True),
        "agent.hidden_sizes": Choice(((32,), (64, 64))),
        "agent.critics": Choice((1, 2)),
    }
    assert space["num_envs"].is_integer  # type: ignore[union-attr]
    assert not space["agent.learning_rate"].is_integer  # type: ignore[union-attr]
    assert space["agent.hidden_sizes"].texts == {"[32]": (32,), "[64, 64]": (64, 64)}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "belongs into config or run"),
        ({"low": 1}, "low, high"),
        ({"low": 1, "high": 2, "lag": True}, "low, high"),
        ({"low": 2, "high": 2}, "low must be less than high"),
        ({"low": 0, "high": 2, "log": True}, "greater than 0"),
        ({"low": "1", "high": 2}, "finite numbers"),
        ({"low": True, "high": 2}, "finite numbers"),
        ({"low": 1, "high": float("inf")}, "finite numbers"),
        ({"low": 1, "high": 2, "log": 1}, "true or false"),
        ([1], "at least two values"),
        ([1, 1], "all different"),
    ],
)
def test_wrong_ranges_are_one_sentence(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        parse_ranges({"agent": {"batch_size": value}})
    assert "agent.batch_size" in str(refusal.value)
