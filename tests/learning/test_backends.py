"""Backends: every setting is honoured or refused, updates equal the eager ones, and nothing depends on threads."""

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from morl.learning.backends import choose_backend, make_runner, make_update
from morl.learning.backends.numba.sac import NumbaSAC
from morl.learning.backends.numba.td3 import NumbaTD3
from morl.learning.discrete_sac import DiscreteSAC, DiscreteSACSettings
from morl.learning.dqn import DQN, DQNSettings
from morl.learning.encoders import Architecture
from morl.learning.off_policy import OffPolicyAlgorithm
from morl.learning.optimizers import Adam
from morl.learning.ppo import PPO, PPOSettings, actor_critic, ppo_update
from morl.learning.sac import SAC, SACSettings
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings
from morl.learning.types import ImageShape, PolicySet, RowShape

CPU = torch.device("cpu")
OBSERVATION = 10  # an image of 3 x 3 pixels, where a case has images, and one number
PPO_OBSERVATION = 5
ACTION = 2
OBJECTIVES = 3
TENSORS = dict[str, Tensor]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- Algorithms and what they learn from ------------------------------------------------------------------------------


def td3(settings: TD3Settings, policies: int = 3) -> TD3:
    return TD3(OBSERVATION, ACTION, OBJECTIVES, settings, range(policies), CPU)


def sac(settings: SACSettings, policies: int = 3) -> SAC:
    return SAC(OBSERVATION, ACTION, OBJECTIVES, settings, policies, generator(1), CPU)


def discrete_sac(settings: SACSettings, policies: int = 3) -> DiscreteSAC:
    return DiscreteSAC(OBSERVATION, 4, OBJECTIVES, settings, policies, generator(1), CPU)


def dqn(settings: DQNSettings, policies: int = 3) -> DQN:
    return DQN(OBSERVATION, 4, OBJECTIVES, settings, policies, generator(1), CPU)


def sampled(algorithm: Any, updates: int = 6, size: int = 17, angles: bool = True) -> SampledBatches:
    """Return random transitions, as a replay buffer holds them, for all policies of an algorithm."""
    dtype, random = algorithm.settings.dtype, generator(2)
    policies, discrete = algorithm.policies, not isinstance(algorithm, TD3 | SAC)
    width = 1 if discrete else ACTION

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    rows = normal(policies, 40, 2 * OBSERVATION - 2 + width + OBJECTIVES + 1 + 2)  # two columns that nothing reads
    action = rows[..., OBSERVATION - 1 : OBSERVATION - 1 + width]
    action.copy_(torch.randint(4, action.shape, generator=random) if discrete else 1.5 * action.tanh())
    rows[..., -3] = (rows[..., -3] > 1.0).to(dtype)
    noise = algorithm.sample_noise(updates, size, random).to(dtype)
    return SampledBatches(
        rows=rows,
        index=torch.randint(40, (policies, updates, size), generator=random),
        observation_width=OBSERVATION - 1,
        action_width=width,
        condition=normal(policies, updates, size, 1),
        noise=noise,
        scale=normal(policies, OBJECTIVES).abs() + 0.5,
        weight=normal(policies, updates, size, OBJECTIVES).abs(),
        direction=normal(policies, updates, size, OBJECTIVES).abs() if angles else None,
        origin=normal(policies, OBJECTIVES) if angles else None,
    )


class PPOPopulation:
    """A `PPO` behind the interface of the other algorithms, with samples of its own."""

    def __init__(self, settings: PPOSettings, policies: int = 3, dtype: torch.dtype = torch.float64) -> None:
        network = actor_critic(PPO_OBSERVATION, spaces.Box(-1.0, 1.0, (ACTION,), np.float32), OBJECTIVES, (12, 9))
        parameters = network.initialize(policies, generator(0)).to(dtype)
        parameters += 0.1 * torch.randn(parameters.shape, generator=generator(1), dtype=dtype)
        self.ppo = PPO(network, parameters.requires_grad_(), Adam(parameters, epsilon=1e-5), settings)

    def learn(self, backend: Any) -> TENSORS:
        random, ppo = generator(2), self.ppo
        shape = (len(ppo.parameters), 32)
        widths = {"observation": PPO_OBSERVATION, "action": ACTION, "log_probability": 1, "value": OBJECTIVES}
        widths |= {"target": OBJECTIVES, "advantage": 1, "objective_advantage": OBJECTIVES, "weight": OBJECTIVES}
        dtype = ppo.parameters.dtype
        samples = {name: torch.randn(*shape, width, generator=random).to(dtype) for name, width in widths.items()}
        samples["log_probability"] = 0.1 * samples["log_probability"] - 1.5
        step = make_update(ppo, backend)
        assert step.backend == backend
        rates = torch.tensor([1e-2, 3e-3, 1e-3], dtype=dtype)
        metrics = ppo_update(step, samples, ppo.settings, rates, random)
        return {**metrics, "parameters": ppo.parameters.detach(), **ppo.optimizer.state_dict()}


def learn(algorithm: Any, backend: Any) -> TENSORS:
    """Return metrics and state after some updates by a backend."""
    if isinstance(algorithm, PPOPopulation):
        return algorithm.learn(backend)
    update = make_update(algorithm, backend)
    assert update.backend == backend
    metrics = update(sampled(algorithm))
    assert algorithm.updates == 6
    return {**metrics, **algorithm.tensors()}


def assert_equal(found: TENSORS, expected: TENSORS, tolerance: float) -> None:
    """Compare by the difference relative to the largest number of each tensor."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        difference = (found[name] - tensor).abs().max() / tensor.abs().max().clamp(min=1e-30)
        assert difference <= tolerance, f"{name} differs by {difference:.2g}"


def same(some: TENSORS, other: TENSORS) -> bool:
    return all(other[name].shape == tensor.shape and torch.equal(other[name], tensor) for name, tensor in some.items())


# --- Every setting is honoured or refused -----------------------------------------------------------------------------

COMMON: dict[str, Any] = {
    "hidden_sizes": (8,),
    "discount": 0.5,
    "tau": 0.3,
    "precision": "bfloat16",
    "activation": "silu",
    "normalization": "layer",
    "images": (ImageShape(1, 3, 3),),
    "network": "networks:small",
    "policy_set": PolicySet("hyper", 1, 3),
}
OFF_POLICY: dict[str, Any] = {"hidden_sizes": (12, 9), "discount": 0.9, "precision": "float64"}
SAC_VALUES: dict[str, Any] = {
    "actor_learning_rate": 0.05,
    "critic_learning_rate": 0.05,
    "policy_delay": 3,
    "temperature": 0.3,
    "target_entropy": -7.0,
    "shared_layers": 1,
    "combiner": "upgrad",
}

WALKS: dict[str, tuple[Callable[[Any], Any], Any, dict[str, Any]]] = {
    "td3": (
        td3,
        TD3Settings(**OFF_POLICY, learning_rate=1e-2, critic_angle=0.02, actor_angle=0.05),
        COMMON
        | {
            "learning_rate": 0.05,
            "policy_delay": 3,
            "target_noise": 0.05,
            "target_noise_clip": 0.1,
            "max_grad_norm": 0.1,
            "loss": "huber",
            "utility_loss": 2.0,
            "layer_norm": True,
            "action_gradient": "leaky",
            "actor_search": "secants",
            "actor_starts": 3,
            "critic_angle": 0.0,
            "actor_angle": 0.0,
            "combiner": "upgrad",
        },
    ),
    "sac": (sac, SACSettings(**OFF_POLICY, target_entropy=-2.0), COMMON | SAC_VALUES),
    "discrete-sac": (
        discrete_sac,
        DiscreteSACSettings(**OFF_POLICY, target_entropy=0.4),
        COMMON | SAC_VALUES | {"rows": RowShape(4, 2)},
    ),
    "dqn": (dqn, DQNSettings(**OFF_POLICY), COMMON | {"learning_rate": 0.05, "shared_layers": 1}),
    "ppo": (
        PPOPopulation,
        PPOSettings(epochs=2, minibatches=4),
        {
            "epochs": 3,
            "minibatches": 2,
            "clip_range": 0.02,
            "value_clip_range": 0.02,
            "value_weight": 2.0,
            "entropy_weight": 0.1,
            "max_grad_norm": 0.01,
            "combiner": "upgrad",
        },
    ),
}
"""Algorithm -> how it is built, settings under which every field matters, and for every field another value."""


REFUSED = {
    "precision": "precision is",
    "shared_layers": "shared_layers is",
    "activation": "activation is 'silu'",
    "normalization": "normalization is 'layer'",
    "images": "observations have images",
    "network": "network is 'networks:small'",
    "policy_set": "networks is 'hyper'",
    "combiner": "combiner is 'upgrad'",
    "actor_search": "actor_search is 'secants'",
}
"""Settings of which compiled updates refuse the other value -> how the reason begins."""


WALK = [(name, field.name) for name, (_, settings, _) in WALKS.items() for field in fields(settings)]


@pytest.mark.parametrize(("name", "field"), WALK)
def test_every_setting_is_honoured_or_refused(name: str, field: str) -> None:
    build, settings, values = WALKS[name]
    assert field in values, (
        f"give another value of {field}, a new setting of {name}, that backends must honour or refuse"
    )
    changed = replace(settings, **{field: values[field]})
    expected = learn(build(changed), "eager")
    assert not same(expected, learn(build(settings), "eager")), f"{field} has no effect in this test"
    if not isinstance(build(settings), TD3 | SAC | PPOPopulation):
        with pytest.raises(ValueError, match="has no compiled updates"):
            learn(build(changed), "numba")
    elif field in REFUSED:
        with pytest.raises(ValueError, match=f"backend is 'numba', but {REFUSED[field]}"):
            learn(build(changed), "numba")
    else:
        assert_equal(learn(build(changed), "numba"), expected, tolerance=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"normalization": "layer"}, "normalization is 'layer'"),
        ({"images": (ImageShape(1, 3, 3),)}, "observations have images"),
        ({"network": "networks:small"}, "network is 'networks:small'"),
    ],
)
def test_networks_of_ppo_that_compiled_updates_do_not_have(
    changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    space = spaces.Box(-1.0, 1.0, (ACTION,), np.float32)
    architecture = Architecture(hidden_sizes=(6,), **{"activation": "tanh"} | changes)
    network = actor_critic(OBSERVATION, space, OBJECTIVES, architecture)
    parameters = network.initialize(2, generator(0)).requires_grad_()
    ppo = PPO(network, parameters, Adam(parameters), PPOSettings())
    with pytest.raises(ValueError, match=f"backend is 'numba', but {reason}"):
        make_update(ppo, "numba")
    with caplog.at_level(logging.INFO, "morl"):
        assert make_update(ppo, "auto").backend == "eager"
    assert f"eager PyTorch: {reason}" in caplog.text


# --- Equality ---------------------------------------------------------------------------------------------------------

CASES: list[Any] = [
    (td3, TD3Settings(hidden_sizes=(12, 9), discount=0.9, learning_rate=1e-2)),
    (
        td3,
        TD3Settings(
            hidden_sizes=(8, 8, 8), discount=0.9, loss="huber", layer_norm=True, policy_delay=3, critic_angle=0.02
        ),
    ),
    (td3, TD3Settings(hidden_sizes=(8,), discount=0.9, learning_rate=1e-2, utility_loss=2.0)),
    (td3, TD3Settings(hidden_sizes=(8,), discount=0.9, learning_rate=1e-2, loss="huber", utility_loss=0.5)),
    (
        td3,
        TD3Settings(
            hidden_sizes=(8,), discount=0.9, max_grad_norm=0.1, policy_delay=1, action_gradient="leaky", actor_starts=3
        ),
    ),
    (sac, SACSettings(hidden_sizes=(12, 9), discount=0.9, target_entropy=-2.0)),
    (sac, SACSettings(hidden_sizes=(8,), discount=0.9, policy_delay=3, temperature=0.3)),
]


@pytest.mark.parametrize(("build", "settings"), CASES)
def test_compiled_updates_equal_the_eager_ones_in_single_precision(build: Any, settings: Any) -> None:
    assert_equal(learn(build(settings), "numba"), learn(build(settings), "eager"), tolerance=1e-4)


@pytest.mark.parametrize("build", [td3, sac])
def test_batches_at_once_are_batches_one_by_one(build: Any) -> None:
    settings: Any = TD3Settings if build is td3 else SACSettings
    settings = settings(**OFF_POLICY)
    for backend in ("eager", "numba"):
        together, single = build(settings), build(settings)
        batches = sampled(together)
        metrics = make_update(together, backend)(batches)
        update = make_update(single, backend)
        for number in range(len(batches)):
            slices = {name: getattr(batches, name)[:, number : number + 1] for name in ("index", "condition", "noise")}
            latest = update(replace(batches, **slices, weight=batches.weight[:, number : number + 1],
                                    direction=batches.direction[:, number : number + 1]))  # fmt: skip
        assert single.updates == together.updates == 6
        torch.testing.assert_close(latest["critic_loss"], metrics["critic_loss"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(single.actors, together.actors, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("policies", [1, 3])
@pytest.mark.parametrize("build", [td3, sac])
def test_results_do_not_depend_on_threads(build: Any, policies: int) -> None:
    found = []
    for threads in (1, 2, 4):
        if build is td3:
            settings = {"layer_norm": True, "critic_angle": 0.02, "actor_angle": 0.05}
            algorithm: Any = td3(TD3Settings(hidden_sizes=(70, 33), discount=0.9, **settings), policies)
            update: Any = NumbaTD3(algorithm)
        else:
            algorithm = sac(SACSettings(hidden_sizes=(70, 33), discount=0.9), policies)
            update = NumbaSAC(algorithm)
        update.workers.count = threads  # whatever the machine has
        update(sampled(algorithm, 4, size=150))
        found.append(algorithm.tensors())
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.parametrize("backend", ["eager", "numba"])
@pytest.mark.parametrize("build", [td3, sac])
def test_a_loaded_state_continues_and_policies_keep_their_own_optimizers(build: Any, backend: Any) -> None:
    kind: Any = TD3Settings if build is td3 else SACSettings
    settings = kind(**OFF_POLICY)
    whole, first, second = (build(settings) for _ in range(3))
    for algorithm in (whole, first):
        make_update(algorithm, backend)(sampled(algorithm))
    second.load_state_dict(first.state_dict())
    for algorithm in (whole, first, second):  # a policy that another one replaced has taken another number of steps
        for name, tensor in algorithm.tensors().items():
            if name.endswith("_steps"):
                tensor[1] += 100
    for algorithm in (whole, second):
        make_update(algorithm, backend)(sampled(algorithm))
    assert same(whole.tensors(), second.tensors())
    other = "numba" if backend == "eager" else "eager"
    make_update(first, other)(sampled(first))
    assert_equal(first.tensors(), whole.tensors(), tolerance=1e-5)


@pytest.mark.parametrize("backend", ["eager", "numba"])
@pytest.mark.parametrize("build", [td3, sac])
def test_a_policy_learns_what_it_learns_alone(build: Any, backend: Any) -> None:
    kind: Any = TD3Settings if build is td3 else SACSettings
    settings = kind(**OFF_POLICY)
    together, start = build(settings), build(settings)
    batches = sampled(together)
    make_update(together, backend)(batches)
    for policy in range(3):
        one = slice(policy, policy + 1)
        alone = build(settings, policies=1)
        alone.load_state_dict(start.state_dict(one))
        names = ("rows", "index", "condition", "noise", "scale", "weight", "direction", "origin")
        make_update(alone, backend)(replace(batches, **{name: getattr(batches, name)[one] for name in names}))
        expected = {name: tensor[one] for name, tensor in together.tensors().items()}
        assert_equal(alone.tensors(), expected, tolerance=1e-9)


# --- The choice -------------------------------------------------------------------------------------------------------


def test_a_fallback_is_logged_once_and_names_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    algorithm = td3(TD3Settings(hidden_sizes=(8,), discount=0.9, precision="bfloat16"))
    with caplog.at_level(logging.INFO, "morl"):
        assert make_update(algorithm).backend == "eager"
    assert [record.getMessage() for record in caplog.records if "bfloat16" in record.getMessage()] == [
        "Updates are executed by eager PyTorch: precision is 'bfloat16', which only eager updates support."
    ]
    with pytest.raises(ValueError, match="backend is 'numba', but precision is 'bfloat16'"):
        make_update(algorithm, "numba")


def refusals() -> list[tuple[OffPolicyAlgorithm, bool, str]]:
    continuous = SACSettings(hidden_sizes=(8,), discount=0.9)
    return [
        (dqn(DQNSettings(hidden_sizes=(8,), discount=0.9)), True, "DQN"),
        (discrete_sac(continuous), True, "DiscreteSAC"),
        (sac(continuous), False, "utility"),
        (sac(replace(continuous, shared_layers=1)), True, "shared_layers"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_what_has_no_compiled_updates_is_refused_or_eager(number: int) -> None:
    algorithm, linear, named = refusals()[number]
    assert make_update(algorithm, linear_utility=linear).backend == "eager"
    with pytest.raises(ValueError, match=named):
        make_update(algorithm, "numba", linear_utility=linear)


def test_double_precision_is_eager_unless_asked_for() -> None:
    algorithm = td3(TD3Settings(hidden_sizes=(8,), discount=0.9, precision="float64"))
    assert choose_backend(algorithm) == "eager"
    assert choose_backend(algorithm, "numba") == "numba"


def test_another_device_is_eager() -> None:
    settings = TD3Settings(hidden_sizes=(8,), discount=0.9)
    algorithm = TD3(OBSERVATION, ACTION, OBJECTIVES, settings, (0,), torch.device("meta"))
    assert choose_backend(algorithm) == "eager"
    with pytest.raises(ValueError, match="device is 'meta'"):
        choose_backend(algorithm, "numba")


def test_compiled_updates_refuse_batches_without_weights() -> None:
    algorithm = sac(SACSettings(hidden_sizes=(8,), discount=0.9))
    batches = replace(sampled(algorithm), weight=None, utility=lambda values, _: values[..., 0])
    with pytest.raises(ValueError, match="weight is None"):
        make_update(algorithm, "numba")(batches)


def test_eager_updates_do_not_import_numba() -> None:
    program = """if True:
        import sys
        import torch
        from morl.learning.backends import make_update
        from morl.learning.td3 import TD3, TD3Settings

        settings = TD3Settings(hidden_sizes=(8,), discount=0.9)
        make_update(TD3(3, 1, 2, settings, (0,), torch.device("cpu")), "eager")
        assert "llvmlite" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True)


# --- CUDA graphs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [td3, sac, discrete_sac, dqn])
def test_graphs_are_for_a_gpu(kind: Any) -> None:
    settings = {td3: TD3Settings, dqn: DQNSettings}.get(kind, SACSettings)(hidden_sizes=(8,), discount=0.9)
    with pytest.raises(ValueError, match=r"backend is 'cuda-graph', but device is 'cpu', .*: use 'eager' or 'auto'"):
        make_update(kind(settings), "cuda-graph")


def test_graphs_hold_weighted_sums_of_gradients_only() -> None:
    """Other combiners solve small systems, which waits for a GPU."""
    combined = td3(TD3Settings(hidden_sizes=(8,), discount=0.9, combiner="upgrad"))
    with pytest.raises(ValueError, match="backend is 'cuda-graph', but combiner is 'upgrad', which only eager updates"):
        make_update(combined, "cuda-graph")


def test_graphs_of_other_updates_are_for_a_gpu() -> None:
    with pytest.raises(ValueError, match="backend is 'cuda-graph', but device is 'cpu'"):
        make_runner(CPU, "cuda-graph")
    for backend in ("auto", "eager"):
        run = make_runner(CPU, backend)
        assert run.backend == "eager"
        assert run(None, lambda inputs: {"twice": 2 * inputs["once"]}, {"once": torch.ones(1)})["twice"].item() == 2.0


def test_updates_make_the_choices_that_they_state() -> None:
    """What a graph is captured for: the updates of one key run the same operations."""
    delayed = td3(TD3Settings(hidden_sizes=(8,), discount=0.9, policy_delay=3, actor_starts=4))
    assert delayed.update_choices(7) == (False, False, (True, False), False, False, (True, True), False)
    delayed.updates = 5
    assert delayed.update_choices(2) == ((True, True), False)
    soft = sac(SACSettings(hidden_sizes=(8,), discount=0.9, policy_delay=2))
    assert soft.update_choices(3) == (True, False, True)
    assert dqn(DQNSettings(hidden_sizes=(8,), discount=0.9)).update_choices(3) == ()
