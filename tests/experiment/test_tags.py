"""Every metric of every agent has a group and a description in TensorBoard."""

import json
from pathlib import Path

import pytest
import toys

from morl.agents import AGENTS, find_agent
from morl.envs.core.registry import problem
from morl.experiment.tags import DESCRIPTIONS, description_of, tag_of
from morl.protocols import DescribesMetrics

GROUPS = {"rollout", "losses", "time", "front", "evaluation", "custom"}
TRACES = sorted((Path(__file__).parents[1] / "golden" / "traces").glob("*.json"))


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.stem)
def test_what_agents_log_is_described(trace: Path) -> None:
    agent = next(name for name in AGENTS if trace.name.startswith(name))
    continuous = "continuous" in trace.name
    env = "water-reservoir-v0" if continuous else "deep-sea-treasure-v0"
    agent_class = find_agent(agent, problem(env).action_space)
    assert isinstance(agent_class, DescribesMetrics)
    names = {name for line in json.loads(trace.read_text())["metrics"] for name in line} - {"training_steps"}
    for name in names:
        tag = tag_of(name)
        assert tag.partition("/")[0] in GROUPS
        assert description_of(tag, agent_class.metric_descriptions), name


def test_what_runs_record_is_described(tmp_path: Path, without_figures: None) -> None:
    """An agent that describes nothing, in a run with a known front: all the rest is described."""
    toys.train(tmp_path / "run", "toy-fork-v0", 100)
    for tag in toys.scalars(tmp_path / "run"):
        if not tag.startswith("losses/"):
            assert description_of(tag, {}), tag


def test_descriptions_are_of_tags() -> None:
    assert {tag.partition("/")[0] for tag in DESCRIPTIONS} == GROUPS - {"losses"}
    for text in DESCRIPTIONS.values():
        assert text.endswith(".")
