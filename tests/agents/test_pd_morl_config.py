"""Settings of PD-MORL: presets are values, and every field is either honored or refused."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from morl.agents.pd_morl import continuous, discrete, policy
from morl.agents.pd_morl.config import ContinuousConfig, DiscreteConfig, PresetConfig
from morl.learning.td3 import TD3Settings

CONFIGS: tuple[type[Any], ...] = (DiscreteConfig, ContinuousConfig)
NUMBERS = {int, float}


def settings_of(config: type[Any]) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(config)
    return ((field.name, hints[field.name]) for field in fields(config))


def is_number(hint: Any) -> bool:
    return get_origin(hint) is not tuple and bool(NUMBERS & {hint, *get_args(hint)})


# --- Presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
def test_presets_are_values(config: Any) -> None:
    assert config.preset("improved") == config()
    assert config.preset("paper") == config.paper() != config()
    for name, preset in config.PRESETS.items():
        resolved = config.preset(name)
        for field in fields(config):
            assert getattr(resolved, field.name) == preset.get(field.name, field.default)
        for setting, value in preset.items():
            assert value != getattr(config(), setting), f"{setting} of preset {name} is the default"


@pytest.mark.parametrize("config", CONFIGS)
def test_changes_win_over_a_preset(config: Any) -> None:
    assert config.paper(hidden_sizes=(7,), tau=0.5) == config.preset("paper", tau=0.5, hidden_sizes=(7,))
    assert config.paper(tau=0.5).tau == 0.5
    with pytest.raises(ValueError, match="preset is 'authors', but must be one of improved, paper"):
        config.preset("authors")


def test_the_papers_values() -> None:
    """Those of the authors' settings file that are easiest to get wrong (shared/specs/pd_morl.md, 1.6)."""
    theirs = DiscreteConfig.paper()
    assert (theirs.hidden_sizes, theirs.batch_size, theirs.buffer_size) == ((256, 256, 256, 256), 32, 2_500)
    assert (theirs.relabel_from, theirs.target_action, theirs.oracle_keys) == ("absolute-normal", "paper", True)
    paper = ContinuousConfig.paper()
    assert (paper.actor_angle, paper.critic_angle, paper.policy_delay) == (10.0, 1.0, 10)
    assert (paper.hidden_sizes, paper.batch_size, paper.learning_rate) == ((400, 400), 256, 3e-4)
    assert (paper.target_noise, paper.target_noise_clip, paper.exploration_noise) == (0.2, 0.5, 0.1)
    assert (paper.random_exploration_steps, paper.relabeling_starts, paper.tau) == (100_000, 100_000, 0.005)


# --- Values that cannot work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
def test_every_number_has_a_range(config: Any) -> None:
    numbers = {name for name, hint in settings_of(config) if is_number(hint)}
    assert set(config.RANGES) == numbers


@pytest.mark.parametrize(
    ("config", "name"), [(config, name) for config in CONFIGS for name, hint in settings_of(config) if is_number(hint)]
)
def test_numbers_that_cannot_work_are_refused(config: Any, name: str) -> None:
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"{name} is {value}, but must "):
            config(**{name: value})


@pytest.mark.parametrize("name", ["batch_size", "learning_rate", "key_episodes", "preference_divisions", "buffer_size"])
@pytest.mark.parametrize("config", CONFIGS)
def test_zero_is_refused_where_it_cannot_work(config: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0, but must be finite and greater than 0"):
        config(**{name: 0})


@pytest.mark.parametrize("config", CONFIGS)
def test_shares_and_widths(config: Any) -> None:
    for name in ("tau", "discount", "relabeled_share"):
        with pytest.raises(ValueError, match=f"{name} is 1.5, but must lie between 0 and 1"):
            config(**{name: 1.5})
    with pytest.raises(ValueError, match=r"hidden_sizes is \(8, 0\)"):
        config(hidden_sizes=(8, 0))
    with pytest.raises(ValueError, match=r"noise_correlation is 1.0, but must be at least 0 and less than 1"):
        ContinuousConfig(noise_correlation=1.0)
    for steps in (0, 101, 10**30):
        with pytest.raises(ValueError, match=f"n_steps is {steps}, but must lie between 1 and 100"):
            ContinuousConfig(n_steps=steps)


# --- Settings without effect ------------------------------------------------------------------------------------------

WITHOUT_EFFECT: dict[tuple[type[PresetConfig], str], tuple[Any, dict[str, Any], dict[str, Any]]] = {
    (DiscreteConfig, "relabel_from"): ("grid", {"relabeled_share": 0.0}, {"relabeled_share": 0.1}),
    (DiscreteConfig, "preferences_per_transition"): (2, {"relabeled_share": 0.0}, {"relabeled_share": 0.1}),
    (DiscreteConfig, "exploration_steps"): (
        500,
        {"exploration_start": 0.1, "exploration_end": 0.1},
        {"exploration_start": 0.1, "exploration_end": 0.2},
    ),
    (DiscreteConfig, "key_update_steps"): (70, {"oracle_keys": True}, {"oracle_keys": False}),
    (DiscreteConfig, "key_episodes"): (3, {"oracle_keys": True}, {"oracle_keys": False}),
    **dict.fromkeys(
        [(config, "hyper_features") for config in CONFIGS],
        (8, {"networks": "combination"}, {"networks": "hyper"}),
    ),
    (ContinuousConfig, "angle_start_step"): (100, {}, {"critic_angle": 0.5}),
    (ContinuousConfig, "target_noise_clip"): (0.3, {"target_noise": 0.0}, {"target_noise": 0.1}),
    (ContinuousConfig, "relabel_from"): ("grid", {"relabeled_share": 0.0}, {"relabeled_share": 0.1}),
    (ContinuousConfig, "preferences_per_transition"): (2, {"relabeled_share": 0.0}, {"relabeled_share": 0.1}),
    (ContinuousConfig, "exploration_noise_min"): (0.3, {"exploration_noise": 0.1}, {"exploration_noise": 0.5}),
    (ContinuousConfig, "relabeling_starts"): (40, {"relabeled_share": 0.0}, {"relabeled_share": 0.1}),
    (ContinuousConfig, "noise_correlation"): (
        0.5,
        {"exploration_noise": 0.0, "random_exploration_steps": 0},
        {"exploration_noise": 0.0},
    ),
    (ContinuousConfig, "precision"): ("bfloat16", {"hidden_sizes": (8,)}, {"hidden_sizes": (8, 8)}),
}
"""(settings, field) -> a value, other settings under which it has no effect, and others under which it has."""


def test_every_requirement_is_tested() -> None:
    required = {(config, name) for config in CONFIGS for name in config.REQUIREMENTS}
    assert required == set(WITHOUT_EFFECT)


@pytest.mark.parametrize(("config", "name"), list(WITHOUT_EFFECT))
def test_settings_without_effect_are_refused(config: Any, name: str) -> None:
    value, idle, effective = WITHOUT_EFFECT[config, name]
    with pytest.raises(ValueError, match=rf"{name} is {value}, but has no effect: it needs \w+"):
        config(**idle | {name: value})
    assert getattr(config(**effective | {name: value}), name) == value
    # The default and the values of presets are nobody's choice.
    config(**idle)
    for preset in config.PRESETS:
        config.preset(preset, **idle)


@pytest.mark.parametrize(("config", "agent"), [(DiscreteConfig, discrete), (ContinuousConfig, continuous)])
def test_every_setting_is_read_by_its_agent(config: Any, agent: Any) -> None:
    sources = inspect.getsource(agent) + inspect.getsource(policy)
    read = set(re.findall(r"\bconfig\.(\w+)", sources))
    assert {field.name for field in fields(config)} <= read


def test_every_setting_of_the_update_is_passed() -> None:
    """A setting that TD3 gets and this agent does not pass would be ignored in silence."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(continuous))) if isinstance(node, ast.Call)]
    (call,) = (node for node in calls if ast.unparse(node.func) == "TD3Settings")
    of_others = {"combiner"}  # PD-MORL's own term of directions takes its place
    assert {keyword.arg for keyword in call.keywords} == {field.name for field in fields(TD3Settings)} - of_others


@pytest.mark.parametrize("config", CONFIGS)
def test_a_batch_holds_each_transition_equally_often(config: Any) -> None:
    with pytest.raises(ValueError, match="batch_size is 10, but must be a multiple of preferences_per_transition, 4"):
        config(batch_size=10, preferences_per_transition=4)
