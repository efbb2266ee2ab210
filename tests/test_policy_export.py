"""Policies as ONNX and TorchScript graphs: they act as `predict` does, say what they are, or are refused."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from graphs import Situation, assert_same_actions, in_onnx, in_torch, in_torchscript, onnx_facts, onnx_session
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import morl
from morl.acting import Policy, load_policy
from morl.learning.types import PolicySet
from morl.policy_export import EXPORTED_FIELDS, PolicyGraph
from morl.policy_files import PolicyData, PolicySpec
from morl.policy_networks import PolicyNetwork
from morl.utilities import UTILITIES

ROOT = Path(__file__).parents[1]
OBJECTIVES = ("speed", "energy", "comfort")

# --- Random policies --------------------------------------------------------------------------------------------------


def boxes(dtype: str, low: float, high: float) -> st.SearchStrategy[Any]:
    shapes = st.sampled_from([(), (1,), (3,), (2, 2)])
    return shapes.map(lambda shape: spaces.Box(low, high, shape, np.dtype(dtype).type))


def observation_spaces() -> st.SearchStrategy[Any]:
    numbers = st.one_of(
        boxes("float32", -1.0, 1.0),
        boxes("float64", -np.inf, np.inf),
        boxes("int64", 0, 5),
        boxes("uint8", 0, 255),
        boxes("int16", -3, 3),
        boxes("uint16", 0, 60_000),
        st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-3, 3)),
        st.just(spaces.MultiDiscrete([2, 3], start=[1, -2])),
        st.just(spaces.MultiDiscrete([[2, 3], [1, 4]])),
        st.just(spaces.MultiBinary(3)),
        st.just(spaces.MultiBinary((2, 2))),
        st.just(spaces.Box(np.array([-1, 0, 2], np.int32), np.array([40, 30, 20], np.int32), dtype=np.int32)),
    )
    empty = st.just(spaces.Box(-1.0, 1.0, (0,), np.float32))

    def joined(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        more = st.lists(st.one_of(parts, empty), max_size=2)
        lists = st.tuples(parts, more).map(lambda pair: [pair[0], *pair[1]])
        return st.one_of(
            lists.map(spaces.Tuple), lists.map(lambda many: spaces.Dict({f"z{9 - i}": s for i, s in enumerate(many)}))
        )

    return st.recursive(numbers, joined, max_leaves=4)


ACTIONS: list[Any] = [
    spaces.Box(-1.0, 1.0, (2,), np.float32),
    spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 1e4], np.float32)),
    spaces.Box(-0.3, 0.1, (2, 2), np.float64),
    spaces.Box(0, 7, (3,), np.int64),
    spaces.Box(0, 255, (2,), np.uint8),
    spaces.Box(-np.inf, np.inf, (2,), np.float32),
    spaces.Box(0.0, np.inf, (), np.float32),
    spaces.Box(-1.0, 1.0, (2,), np.float16),
]


@st.composite
def specs(draw: Any) -> PolicySpec:
    head = draw(st.sampled_from(["deterministic", "squashed-gaussian", "gaussian", "categorical", "action-values"]))
    discrete = head in ("categorical", "action-values")
    augmented = draw(st.booleans())
    utility = draw(st.sampled_from(sorted(UTILITIES)))
    conditioned = draw(st.booleans())
    return PolicySpec(
        agent="random",
        head=head,
        hidden_sizes=draw(st.sampled_from([(), (5,), (7, 4)])),
        activation=draw(st.sampled_from(["relu", "tanh", "silu", "elu", "gelu", "leaky-relu"])),
        normalization=draw(st.sampled_from(["none", "layer"])),
        observation_space=draw(observation_spaces()),
        action_space=spaces.Discrete(4, start=2) if discrete else draw(st.sampled_from(ACTIONS)),
        objectives=OBJECTIVES,
        one_hot=draw(st.booleans()),
        conditioned=conditioned,
        preference_bins=draw(st.sampled_from([0, 5])) if conditioned else 0,
        augmented_units=(2.0, 0.5, 3.0) if augmented else None,
        reward_units=draw(st.sampled_from([None, (10.0, 1.0, 0.1)])) if augmented else None,
        utility=utility if head == "action-values" else "linear",
        utility_of_shares=draw(st.booleans()) if head == "action-values" else False,
        ensemble=draw(st.sampled_from([1, 3])) if head == "action-values" else 1,
        action_masks=draw(st.booleans()) if discrete else False,
    )


def policy_of(spec: PolicySpec, seed: int = 0, normalized: str = "", scaled: bool = True) -> Policy:
    """Return a random policy.

    Args:
        spec: of the policy.
        seed: of its arrays.
        normalized: dtype of the statistics of observations; empty for none.
        scaled: whether a conditioned one acts for every preference.
    """
    network = PolicyNetwork(spec)
    random = np.random.default_rng(seed)
    parameters = network.network.initialize(spec.ensemble, torch.Generator().manual_seed(seed)).flatten()
    parameters += torch.as_tensor(random.normal(size=len(parameters)) * 0.1, dtype=torch.float32)
    log_stds = torch.as_tensor(random.normal(size=network.num_log_stds), dtype=torch.float32)
    objectives = len(spec.objectives)
    data = PolicyData(
        spec=spec,
        parameters=torch.cat([parameters, log_stds]),
        mean=random.normal(size=network.row_width).astype(normalized) if normalized else None,
        scale=random.uniform(0.1, 2.0, size=network.row_width).astype(normalized) if normalized else None,
        preference=random.dirichlet(np.ones(objectives)),
        bounds=np.stack([random.normal(size=objectives) - 3.0, random.normal(size=objectives) + 3.0]),
    )
    scale = random.uniform(0.1, 10.0, objectives) if spec.conditioned and scaled else None
    return Policy(data, np.full(objectives, 1.0 / objectives), preference_scale=scale, env_id="some-env-v0")


def graph_of(policy: Policy, distribution: bool = False) -> PolicyGraph:
    return PolicyGraph(PolicyNetwork(policy.data.spec), policy.data, policy.preference_scale, distribution)


@settings(deadline=None, max_examples=150)
@given(
    spec=specs(),
    seed=st.integers(0, 1000),
    normalized=st.sampled_from(["", "float32", "float64"]),
    scaled=st.booleans(),
    count=st.sampled_from([1, 2, 9]),
)
def test_a_graph_acts_as_predict_does(spec: PolicySpec, seed: int, normalized: str, scaled: bool, count: int) -> None:
    policy = policy_of(spec, seed, normalized, scaled)
    graph = graph_of(policy)
    situation = Situation(policy, count, seed)
    (action,) = in_torch(graph, situation.inputs())
    assert_same_actions(policy, action, situation.predicted())
    assert action.dtype == np.dtype(str(graph.outputs[0].dtype).removeprefix("torch."))


@settings(deadline=None, max_examples=12)
@given(
    spec=specs(),
    seed=st.integers(0, 1000),
    normalized=st.sampled_from(["", "float32", "float64"]),
    scaled=st.booleans(),
)
def test_every_graph_can_be_recorded(
    spec: PolicySpec, seed: int, normalized: str, scaled: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    policy = policy_of(spec, seed, normalized, scaled)
    file = tmp_path_factory.getbasetemp() / "policy.torchscript"
    policy.to_torchscript(file, distribution=spec.stochastic)
    situation = Situation(policy, 5, seed)
    outputs = in_torchscript(file)(situation.inputs())
    for found, expected in zip(outputs, in_torch(graph_of(policy, spec.stochastic), situation.inputs()), strict=True):
        np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=1e-5, atol=1e-5)


WRITTEN: dict[str, tuple[dict[str, Any], str]] = {
    "deterministic": (
        {"head": "deterministic", "action_space": ACTIONS[1], "conditioned": True, "activation": "tanh"},
        "float32",
    ),
    "deterministic, hypernetwork": (
        {
            "head": "deterministic",
            "action_space": ACTIONS[1],
            "conditioned": True,
            "policy_set": PolicySet("hyper", len(OBJECTIVES), 4),
        },
        "float32",
    ),
    "action-values, combination": (
        {"head": "action-values", "conditioned": True, "policy_set": PolicySet("combination", len(OBJECTIVES))},
        "",
    ),
    "squashed-gaussian": ({"head": "squashed-gaussian", "action_space": ACTIONS[2]}, "float64"),
    "gaussian": ({"head": "gaussian", "action_space": ACTIONS[3], "augmented_units": (1.0, 2.0, 3.0)}, "float64"),
    "gaussian without bounds": ({"head": "gaussian", "action_space": ACTIONS[6], "conditioned": True}, ""),
    "categorical": ({"head": "categorical", "action_masks": True, "conditioned": True}, "float32"),
    **{
        f"action-values, {utility}": (
            {
                "head": "action-values",
                "utility": utility,
                "utility_of_shares": utility != "linear",
                "ensemble": 2,
                "augmented_units": (1.0, 2.0, 3.0),
                "action_masks": utility == "pbi",
                "conditioned": utility != "tchebycheff",
                "activation": "tanh" if utility == "linear" else "relu",
            },
            "",
        )
        for utility in UTILITIES
    },
}
PARTS = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (2, 3), np.uint8),
        "gear": spaces.Discrete(3, start=-1),
        "rest": spaces.Tuple((spaces.MultiDiscrete([2, 3]), spaces.Box(0, 3, (2,), np.int32), spaces.MultiBinary(2))),
        "speed": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    }
)


def written(name: str, **changes: Any) -> Policy:
    given_fields, normalized = WRITTEN[name]
    fields_of_all: dict[str, Any] = {
        "agent": "test",
        "hidden_sizes": (16, 16),
        "observation_space": PARTS if name in ("squashed-gaussian", "categorical") else ACTIONS[0],
        "action_space": spaces.Discrete(4, start=2),
        "objectives": OBJECTIVES,
        "one_hot": True,
    }
    return policy_of(PolicySpec(**{**fields_of_all, **given_fields, **changes}), 1, normalized)


@pytest.mark.parametrize("name", WRITTEN)
def test_both_formats_act_as_predict_does(name: str, tmp_path: Path) -> None:
    """Every head and utility; two heads over an observation space that has every kind of part."""
    policy = written(name)
    distribution = policy.data.spec.stochastic
    policy.to_onnx(tmp_path / "policy.onnx", distribution=distribution)
    policy.to_torchscript(tmp_path / "policy.torchscript", distribution=distribution)
    graph = graph_of(policy, distribution)
    for run in (in_onnx(tmp_path / "policy.onnx"), in_torchscript(tmp_path / "policy.torchscript")):
        for count in (1, 2, 64):
            situation = Situation(policy, count, seed=count)
            outputs = run(situation.inputs())
            assert_same_actions(policy, outputs[0], situation.predicted())
            for found, expected in zip(outputs[1:], in_torch(graph, situation.inputs())[1:], strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# --- What a file is ---------------------------------------------------------------------------------------------------


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    policy = written("categorical")
    policy.to_onnx(tmp_path / "any.onnx")
    facts = onnx_facts(onnx_session(tmp_path / "any.onnx"))
    assert facts["morl_version"] == morl.__version__
    assert (facts["agent"], facts["env"], facts["objectives"]) == ("test", "some-env-v0", list(OBJECTIVES))
    assert [one["name"] for one in facts["inputs"]] == [
        "observation.camera",
        "observation.gear",
        "observation.rest.0",
        "observation.rest.1",
        "observation.rest.2",
        "observation.speed",
        "preference",
        "action_mask",
    ]
    assert facts["inputs"][1]["meaning"] == "a whole number from -1 to 1"
    assert facts["inputs"][5] == {
        "name": "observation.speed",
        "dtype": "float32",
        "shape": ["batch", 2],
        "meaning": "numbers from -inf to inf, as the environment has them",
    }
    assert [one["name"] for one in facts["outputs"]] == ["action"]
    assert facts["preference_scale"] == pytest.approx(policy.preference_scale)
    assert "preference" not in facts

    policy.to_onnx(tmp_path / "one.onnx", fixed_preference=True)
    session = onnx_session(tmp_path / "one.onnx")
    facts = onnx_facts(session)
    assert facts["preference"] == pytest.approx(policy.preference)
    assert facts["conditioning"] == pytest.approx(policy.conditioning)
    assert "preference" not in [one.name for one in session.get_inputs()]
    situation = Situation(policy, 20)
    action, *_ = in_onnx(tmp_path / "one.onnx")(situation.inputs(fixed_preference=True))
    assert_same_actions(policy, action, situation.predicted(fixed_preference=True))


def test_a_file_depends_on_the_policy_alone(tmp_path: Path) -> None:
    for name in ("first", "second"):
        written("gaussian").to_onnx(tmp_path / name)
    first = (tmp_path / "first").read_bytes()
    assert first == (tmp_path / "second").read_bytes()
    assert str(ROOT).encode() not in first  # nobody learns where it was written
    assert b"policy_export" not in first


def test_exporting_leaves_the_policy_and_torch_alone(tmp_path: Path) -> None:
    policy = written("gaussian")
    before = torch.get_rng_state()
    situation = Situation(policy, 5)
    expected = situation.predicted()
    with torch.inference_mode():
        policy.to_onnx(tmp_path / "policy.onnx")
    torch.set_default_dtype(torch.float64)
    try:
        policy.to_torchscript(tmp_path / "policy.torchscript")
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(situation.predicted(), expected)
    action, *_ = in_torchscript(tmp_path / "policy.torchscript")(situation.inputs())
    assert_same_actions(policy, action, expected)


# --- Preferences ------------------------------------------------------------------------------------------------------


def test_a_policy_is_conditioned_on_another_preference(tmp_path: Path) -> None:
    policy = written("categorical")
    assert policy.preference_scale is not None
    other = policy.conditioned_on([2.0, 1.0, 1.0])
    assert other.preference.tolist() == [0.5, 0.25, 0.25]
    scaled = np.array([0.5, 0.25, 0.25]) * policy.preference_scale
    np.testing.assert_allclose(other.conditioning, scaled / scaled.sum())
    other.save(tmp_path / "policy.pt")
    loaded = load_policy(tmp_path / "policy.pt")
    assert loaded.env_id == "some-env-v0"
    back = loaded.conditioned_on(policy.preference)
    np.testing.assert_array_equal(loaded.conditioned_on([2.0, 1.0, 1.0]).conditioning, other.conditioning)
    assert back.conditioning.sum() == pytest.approx(1.0)
    for wrong in ([1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="preference is"):
            policy.conditioned_on(wrong)
    with pytest.raises(ValueError, match=r"acts for one preference only: run.policy\(preference, conditioned=True\)"):
        written("squashed-gaussian").conditioned_on([1.0, 1.0, 1.0])


def test_a_network_that_is_conditioned_on_nothing_is_refused(tmp_path: Path) -> None:
    conditioned = written("categorical")
    nothing = replace(conditioned.data, preference=np.full(3, np.nan))
    policy = Policy(nothing, np.full(3, np.nan))
    message = "is conditioned on a preference, and its file names none: load it through its run"
    with pytest.raises(ValueError, match=message):
        policy.predict(Situation(conditioned, 1).observations)
    for export in (policy.to_onnx, policy.to_torchscript):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "policy")
    Policy(nothing, np.full(3, np.nan), preference_scale=np.ones(3)).to_torchscript(tmp_path / "any")
    assert [file.name for file in tmp_path.iterdir()] == ["any"]


# --- Refusals ---------------------------------------------------------------------------------------------------------


def branching(returns: Any, preferences: Any, ideal: Any) -> Any:
    values = (returns * preferences).sum(-1)
    return values if values.mean() > 0.0 else -values


def foreign(returns: Any, preferences: Any, ideal: Any) -> Any:
    return torch.as_tensor(np.asarray(returns).sum(-1))


def smooth(returns: Any, preferences: Any, ideal: Any) -> Any:
    return (returns * preferences).clamp(min=-1.0).sigmoid().prod(-1) + torch.minimum(returns, ideal).amin(-1)


@pytest.mark.parametrize("utility", [branching, foreign])
def test_a_utility_that_cannot_be_recorded_is_refused(utility: Any, tmp_path: Path) -> None:
    policy = Policy(written("action-values, linear").data, np.full(3, 1 / 3), utility=utility)
    assert policy.predict(Situation(policy, 4).observations)[0].shape == (4,)
    for export in (policy.to_onnx, policy.to_torchscript):
        with pytest.raises(ValueError, match=r"this policy of test with the utility '.*' cannot be recorded") as raised:
            export(tmp_path / "policy")
        assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_utility_of_the_users_own_is_part_of_the_graph(tmp_path: Path) -> None:
    policy = Policy(written("action-values, linear").data, np.full(3, 1 / 3), utility=smooth)
    policy.to_onnx(tmp_path / "policy.onnx")
    situation = Situation(policy, 30)
    action, *_ = in_onnx(tmp_path / "policy.onnx")(situation.inputs())
    assert_same_actions(policy, action, situation.predicted())
    assert not np.array_equal(action, written("action-values, linear").predict(situation.observations)[0])


@pytest.mark.parametrize("name", ["deterministic", "action-values, linear"])
def test_a_deterministic_policy_has_no_distribution(name: str, tmp_path: Path) -> None:
    for export in (written(name).to_onnx, written(name).to_torchscript):
        with pytest.raises(ValueError, match="distribution is True, but this policy of test is deterministic"):
            export(tmp_path / "policy", distribution=True)
    assert list(tmp_path.iterdir()) == []


def test_a_field_that_no_graph_honors_is_refused() -> None:
    """Whoever adds a field to the specification: the exporter refuses it until it knows it."""
    assert {field.name for field in fields(PolicySpec)} >= EXPORTED_FIELDS
    extended = make_dataclass("Extended", [("memory", int, 0)], bases=(PolicySpec,), frozen=True, kw_only=True)
    policy = written("gaussian")
    own = {field.name: getattr(policy.data.spec, field.name) for field in fields(PolicySpec)}
    for memory, refused in ((0, False), (8, True)):
        spec: Any = extended(**own, memory=memory)
        data = replace(policy.data, spec=spec)
        if not refused:
            PolicyGraph(PolicyNetwork(spec), data, None, False)
            continue
        with pytest.raises(ValueError, match="the policy has memory = 8, and such policies cannot be exported"):
            PolicyGraph(PolicyNetwork(spec), data, None, False)


@dataclass
class Unknown(gymnasium.Space[Any]):
    """A space of a kind that nobody knows."""

    def __post_init__(self) -> None:
        super().__init__((2,), np.float32)


def test_spaces_that_no_graph_knows_are_refused() -> None:
    policy = written("gaussian")
    for space, message in (
        (Unknown(), "observation is Unknown.*cannot be exported as a graph yet"),
        (spaces.Dict({"a": Unknown()}), r"observation\.a is Unknown.*cannot be exported as a graph yet"),
        (spaces.Dict({"a.b": ACTIONS[0], "a": spaces.Dict({"b": ACTIONS[0]})}), "two of its parts have the same path"),
    ):
        data = replace(policy.data, spec=replace(policy.data.spec, observation_space=space))
        with pytest.raises(ValueError, match=message):
            PolicyGraph(PolicyNetwork(policy.data.spec), data, None, False)


def test_an_encoding_that_differs_from_the_networks_is_refused() -> None:
    """Whoever changes how observations become rows: the exporter compares before it writes anything."""
    policy = written("categorical")
    network = PolicyNetwork(policy.data.spec)
    encode = network.encode
    network.encode = lambda batch: encode(batch) / np.float32(255.0)
    with pytest.raises(ValueError, match="observations of this kind cannot be exported as a graph yet"):
        PolicyGraph(network, policy.data, None, False)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    policy = written("gaussian")
    (tmp_path / "folder").mkdir()
    for file in (tmp_path / "nowhere" / "policy", tmp_path / "folder"):
        for export in (policy.save, policy.to_torchscript):
            with pytest.raises(ValueError, match=rf"file is '{re.escape(str(file))}', but ") as raised:
                export(file)
            assert "\n" not in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"the package {package}.*pip install 'morl-suite\[onnx\]'"):
        written("gaussian").to_onnx(tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


# --- The page ---------------------------------------------------------------------------------------------------------

BLOCKED = """
import sys
for name in ("torch", "gymnasium", "morl", "onnx", "onnxscript", "numba", "stable_baselines3", "mo_gymnasium"):
    sys.modules[name] = None
"""


def test_the_page_from_a_run_to_your_robot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_figures: None
) -> None:
    """Its first block exports; the second one acts in a process where nothing but NumPy and onnxruntime imports."""
    import toys

    page = (ROOT / "docs" / "guide" / "deploy.md").read_text(encoding="utf-8")
    export, act = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len([line for line in act.splitlines() if line.strip() and not line.startswith("print")]) <= 15
    run = morl.train(
        "pd-morl",
        "deep-sea-treasure-v0",
        total_steps=300,
        run_dir=tmp_path / "runs" / "x",
        config=toys.TINY,
        **toys.SCHEDULE,
    )
    monkeypatch.chdir(tmp_path)
    exec(export, {})
    code = f"{BLOCKED}{act}\nassert facts['env'] == 'deep-sea-treasure-v0', facts\n"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    robot = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert robot.returncode == 0, robot.stderr
    expected, _ = run.policy([0.7, 0.3], conditioned=True).predict(np.array([3, 2]))
    assert robot.stdout == f"{expected}\n"
    measured, _ = run.policy([0.7, 0.3]).predict(np.array([3, 2]))
    assert in_onnx(tmp_path / "policy.onnx")({"observation": np.array([[3, 2]])})[0].tolist() == [measured]
