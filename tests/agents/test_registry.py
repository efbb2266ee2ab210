"""`morl.agents` names every agent and its settings, and imports them on first use only."""

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest
from gymnasium import spaces

import morl.agents
from morl.agents import AGENTS, find_agent
from morl.agents.registry import agent_with_config, agents_with_setting
from morl.experiment.settings import resolve


@pytest.mark.parametrize("name", morl.agents.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(morl.agents, name) is not None


@pytest.mark.parametrize("agent", ["CMORL", "ContinuousPDMORL", "MORLD", "PDMORL"])
def test_settings_are_those_of_their_agent(agent: str) -> None:
    assert getattr(morl.agents, f"{agent}Config") is getattr(morl.agents, agent).config_class


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'PGMORL'; it has .*PDMORL"):
        _ = morl.agents.PGMORL


def test_importing_agents_does_not_import_torch() -> None:
    code = "import sys, morl.agents; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def refusal(agent: str, space: spaces.Space[Any], given: dict[str, Any]) -> str:
    """Return the sentence that refuses settings of an agent."""
    with pytest.raises(ValueError) as caught:
        resolve(find_agent(agent, space), agent, "any-env-v0", {"agent": given})
    return str(caught.value)


@pytest.mark.parametrize(
    ("agent", "given", "sentence"),
    [
        ("morl-d", {"constraints": {"speed": ">= 3"}}, "constraints is no setting of morl-d, but of c-morl"),
        ("pd-morl", {"constraints": {"speed": ">= 3"}}, "constraints is no setting of pd-morl, but of c-morl"),
        ("c-morl", {"solver_kwargs": {"ent_coef": 1}}, "solver_kwargs is no setting of c-morl, but of morl-d"),
        ("morl-d", {"parents": "tree"}, "parents is no setting of morl-d, but of mogfn-pc"),
        ("c-morl", {"one_hot": False, "parents": "tree"}, "parents is no setting of c-morl, but of mogfn-pc"),
        (
            "pd-morl",
            {"target_noise": 0.1},
            "target_noise is no setting of pd-morl for these actions, but of pd-morl for Box actions",
        ),
    ],
)
def test_a_setting_of_other_agents_names_them(agent: str, given: dict[str, Any], sentence: str) -> None:
    assert refusal(agent, spaces.Discrete(3), given) == sentence


def test_a_setting_of_no_agent_has_its_nearest_names() -> None:
    sentence = refusal("morl-d", spaces.Discrete(3), {"exploration_step": 3})
    assert (
        'there is no setting config={"exploration_step": ...}; the nearest are config={"exploration_steps"' in sentence
    )


def test_flags_of_other_agents_are_named_as_flags(morl_cli: Any) -> None:
    words = ("train", "morl-d", "deep-sea-treasure-v0", "--agent.constraints", "treasure", ">= 3")
    code, shown, complaint = morl_cli(*words)
    assert (code, shown) == (2, "")
    assert complaint == "morl: --agent.constraints is no setting of morl-d, but of c-morl\n"


def test_the_agents_that_have_a_setting_are_those_whose_class_has_it() -> None:
    classes = {(name, find_agent(name, space).config_class) for name, space in VARIANTS}
    every = {field.name for _, config in classes for field in fields(config)}
    for setting in every:
        having = {name for name, config in classes if setting in {field.name for field in fields(config)}}
        assert set(agents_with_setting(setting)) == having, setting
    assert agents_with_setting("no_such_setting") == {}
    assert all(agent_with_config(config) == name for name, config in classes)
    assert agent_with_config(int) == ""


VARIANTS: list[tuple[str, spaces.Space[Any]]] = [
    *((name, spaces.Discrete(3)) for name in AGENTS),
    *((name, spaces.Box(-1.0, 1.0, (2,))) for name, place in AGENTS.items() if isinstance(place, str)),
    ("pd-morl", spaces.Box(-1.0, 1.0, (2,))),
]
