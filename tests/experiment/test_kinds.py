"""Values of another kind than their setting: one sentence has the setting, the value as given, and what is right."""

from dataclasses import asdict, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from morl.agents import find_agent
from morl.experiment.kinds import plain_values
from morl.experiment.settings import Settings, optional_fields, resolve_sources, whole

CONFIG = find_agent("pd-morl").config_class
ENV = "deep-sea-treasure-v0"


def resolved(**config: Any) -> Any:
    return resolve_sources(CONFIG, "pd-morl", ENV, [{"agent": config}]).settings.agent


@pytest.mark.parametrize("setting", [one.name for one in fields(CONFIG)])
def test_none_is_refused_where_a_setting_has_no_none(setting: str) -> None:
    hint = get_type_hints(CONFIG)[setting]
    if type(None) in get_args(hint):
        assert getattr(resolved(**{setting: None}), setting) is None
        return
    with pytest.raises(ValueError, match=f"^{setting} is None, but must be (?!None)"):
        resolved(**{setting: None})


def test_none_stands_for_not_given_where_it_is_an_argument() -> None:
    given = {one.name: None for one in fields(Settings) if one.name != "agent"}
    settings = resolve_sources(CONFIG, "pd-morl", ENV, [given | {"agent": {"preset": None}}]).settings
    assert settings == resolve_sources(CONFIG, "pd-morl", ENV, [{}]).settings
    assert optional_fields(Settings)


WRONG: dict[str, list[object]] = {
    "one_hot": [1, "yes", b"1", [True], 0.0],
    "learning_rate": [True, b"0.1", 1j, [0.1], object, {"a": 1}],
    "batch_size": [1.5, True, b"32", [32], object(), float("inf"), float("nan")],
    "hidden_sizes": [b"ab", [1.5], [True], [None], {"a": 1}, 2.5, True],
    "backend": [3, b"eager", ["eager"], True],
}


@pytest.mark.parametrize(("setting", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_of_another_kind_is_named_as_it_was_given(setting: str, value: object) -> None:
    with pytest.raises(ValueError) as caught:
        resolved(**{setting: value})
    assert str(caught.value).startswith(f"{setting} is {value!r:.100}, but must be ")


@pytest.mark.parametrize(
    ("setting", "given", "meant"),
    [
        ("batch_size", np.int64(32), 32),
        ("batch_size", np.float32(32.0), 32),
        ("batch_size", 3.2e1, 32),
        ("batch_size", Fraction(64, 2), 32),
        ("learning_rate", np.float64(0.25), 0.25),
        ("learning_rate", Fraction(1, 4), 0.25),
        ("learning_rate", Decimal("0.25"), 0.25),
        ("learning_rate", np.array(0.25), 0.25),
        ("one_hot", np.bool_(True), True),
        ("hidden_sizes", np.array([3, 4]), (3, 4)),
        ("hidden_sizes", (np.int64(3), Fraction(4)), (3, 4)),
        ("hidden_sizes", range(3, 5), (3, 4)),
        ("hidden_sizes", 3, (3,)),
    ],
)
def test_numbers_of_other_libraries_are_numbers(setting: str, given: object, meant: object) -> None:
    assert asdict(resolved(**{setting: given}))[setting] == meant


@pytest.mark.parametrize("table", [{3: 4}, {"agent": {3: 4}}])
def test_names_of_settings_are_texts(table: Any) -> None:
    with pytest.raises(ValueError, match=r"^the name of a setting is 3, but must be a text"):
        plain_values(table)
    with pytest.raises(ValueError, match=r"^preset is 3, but must be the name of a preset"):
        resolved(preset=3)


@pytest.mark.parametrize("value", [None, "a", b"1", 1.5, True, [1], float("nan")])
def test_a_count_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        whole("episodes", value, 1)
    assert str(caught.value) == f"episodes is {value!r}, but must be an integer"
    assert whole("episodes", np.float64(1e3), 1) == whole("episodes", np.int64(1_000), 1) == 1_000


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [ENV, "mo-hopper-v5"])
def test_a_setting_for_other_actions_is_found_by_its_name_and_by_one_near_it(env: str) -> None:
    discrete = find_agent("pd-morl").config_class
    continuous = find_agent("pd-morl", Box()).config_class
    own, other, kind = (discrete, continuous, "Box") if env == ENV else (continuous, discrete, "Discrete")
    only = sorted({one.name for one in fields(other)} - {one.name for one in fields(own)})
    assert only
    for name in only:
        for spelled in (name, f"{name}x"):
            with pytest.raises(ValueError, match=rf"{name}\b.* of pd-morl for {kind} actions"):
                resolve_sources(own, "pd-morl", env, [{"agent": {spelled: 1}}])


def test_a_nearer_setting_of_its_own_comes_first() -> None:
    with pytest.raises(ValueError, match="the nearest are") as caught:
        resolved(learning_rat=0.1)
    assert "actions" not in str(caught.value)


class Box:
    """Stands for a space of continuous actions: agents are found by the name of its class."""


def test_whole_numbers_of_other_types_keep_their_digits() -> None:
    odd = 2**53 + 1
    assert plain_values({"seed": Decimal(odd), "steps": [Fraction(odd)]}) == {"seed": odd, "steps": [odd]}
    assert plain_values({"rate": Fraction(1, 4)}) == {"rate": 0.25}


@pytest.mark.parametrize("value", [Decimal("sNaN"), Decimal("Infinity"), Fraction(10**400), np.float64, np.ndarray])
def test_what_is_no_usable_number_is_one_sentence(value: object) -> None:
    with pytest.raises(ValueError, match=r"^batch_size is \S.* must [^\n]+$"):
        resolved(batch_size=value)
