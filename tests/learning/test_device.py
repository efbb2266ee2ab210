"""Updates on a device that is no CPU, eager and as graphs; and that the pretended device notices mistakes.

The pretended device (`tests/toys/pretend.py`) computes the CPU's numbers, so that updates must be equal bit for bit. On
CUDA (`-m gpu`) sums have another order, and Adam turns the sign of a small gradient into a whole step.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pretend
import pytest
import torch
from gymnasium import spaces
from pretend_graph import PretendGraph
from torch import Tensor

from morl.learning.backends import cuda_graph, make_update
from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN, DQNSettings
from morl.learning.optimizers import Adam
from morl.learning.ppo import PPO, PPOSettings, actor_critic, clipped_surrogate_loss, ppo_update
from morl.learning.sac import SAC, SACSettings
from morl.learning.sampled_batches import SampledBatches
from morl.learning.scalarization import AugmentedState, bind_utility, scaled_utility
from morl.learning.td3 import TD3, TD3Settings

CPU = torch.device("cpu")
POLICIES = 3
OBSERVATION = 5
ACTION = 2
OBJECTIVES = 3
BATCH = 16
ROWS = 40
Tensors = dict[str, Tensor]


class Dice:
    """Random numbers that are drawn on the CPU, the same for every device."""

    def __init__(self, device: torch.device, seed: int = 1) -> None:
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator).to(self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator).to(self.device)


# --- Everything that learns: a device -> a function that runs some updates by a backend, and its state ----------------


class OffPolicy:
    """An algorithm, a replay buffer, and random batches from it."""

    def __init__(self, algorithm: Any, device: torch.device, utility: str = "linear", **switches: bool) -> None:
        self.algorithm = algorithm
        self.device = device
        self.dice = Dice(device)
        self.angles = switches.get("angles", False)
        self.masks = switches.get("masks", False)
        self.discrete = isinstance(algorithm, DQN | DiscreteSAC)
        width = OBSERVATION + OBJECTIVES + 1 if switches.get("accrued") else OBSERVATION
        self.width = width
        columns = 2 * width + (1 if self.discrete else ACTION) + OBJECTIVES + 1
        self.rows = self.dice.uniform(POLICIES, ROWS, columns)
        if self.discrete:
            self.rows[..., width] = self.dice.integers(4, POLICIES, ROWS).float()
        self.rows[..., -1] = self.dice.integers(2, POLICIES, ROWS).float()
        self.byte_rows = self.dice.integers(2, POLICIES, ROWS, 8).to(torch.uint8)
        self.byte_rows[..., [0, 4]] = 1
        self.augmented = AugmentedState(OBSERVATION, np.full(OBJECTIVES, 2.0), bool(switches.get("accrued")))
        self.utility_name = utility
        self.scaled = scaled_utility(utility, utility != "linear")

    def batches(self, count: int) -> SampledBatches:
        dice = self.dice
        drawn = (POLICIES, count, BATCH)
        limits = torch.stack([torch.zeros(POLICIES, OBJECTIVES), torch.ones(POLICIES, OBJECTIVES)], dim=1)
        bounds = (limits + 0.1 * dice.uniform(POLICIES, 2, OBJECTIVES).cpu()).to(self.device)
        preferences = dice.uniform(POLICIES, 1, OBJECTIVES)
        noise = self.algorithm.sample_noise(count, BATCH, dice.generator)
        linear = self.utility_name == "linear"
        return SampledBatches(
            rows=self.rows,
            index=dice.integers(ROWS, *drawn),
            observation_width=self.width,
            action_width=1 if self.discrete else ACTION,
            condition=torch.zeros(*drawn, 0, device=self.device),
            noise=noise.to(self.device),
            scale=dice.uniform(POLICIES, OBJECTIVES) + 0.5,
            weight=dice.uniform(*drawn, OBJECTIVES) if linear else None,
            utility=None if linear else bind_utility(self.scaled, self.augmented, preferences, bounds),
            direction=dice.uniform(*drawn, OBJECTIVES) if self.angles else None,
            origin=dice.uniform(POLICIES, OBJECTIVES) if self.angles else None,
            byte_rows=self.byte_rows if self.masks else None,
            byte_columns={"mask": 4, "next_mask": 4} if self.masks else {},
        )

    def updates(self, backend: Any) -> Callable[[int], Tensors]:
        update = make_update(self.algorithm, backend, linear_utility=False)
        return lambda count: update(self.batches(count))

    def state(self) -> Tensors:
        return self.algorithm.tensors()


class OnPolicy:
    """A `PPO` and random samples, with its own loss or another one for every update."""

    def __init__(
        self,
        device: torch.device,
        discrete: bool = False,
        other_loss: bool = False,
        memory: int = 0,
        entropy_weight: float = 0.01,
        masked: bool = True,
    ) -> None:
        space = spaces.Discrete(4) if discrete else spaces.Box(-1.0, 1.0, (ACTION,), np.float32)
        network = actor_critic(OBSERVATION, space, OBJECTIVES, (12, 9), memory_size=memory)
        parameters = network.initialize(POLICIES, torch.Generator().manual_seed(0)).to(device).requires_grad_()
        settings = PPOSettings(epochs=3 if other_loss else 1, minibatches=2, entropy_weight=entropy_weight)
        self.ppo = PPO(network, parameters, Adam(parameters, epsilon=1e-5), settings)
        self.dice = Dice(device)
        self.discrete = discrete
        self.masked = masked
        self.other_loss = other_loss

    def samples(self) -> Tensors:
        count = 2 * BATCH
        widths = {"observation": OBSERVATION, "log_probability": 1, "value": OBJECTIVES}
        widths |= {"target": OBJECTIVES, "advantage": 1}
        samples = {name: self.dice.uniform(POLICIES, count, width) - 0.5 for name, width in widths.items()}
        if self.discrete:
            samples["action"] = self.dice.integers(4, POLICIES, count, 1).float()
            if self.masked:
                samples["mask"] = torch.ones(POLICIES, count, 4, device=self.dice.device)
        else:
            samples["action"] = self.dice.uniform(POLICIES, count, ACTION)
        size = self.ppo.network.state_size
        if size:
            samples["start"] = (self.dice.integers(4, POLICIES, count, 1) == 0).float()
            samples["state"] = self.dice.uniform(POLICIES, count // 4, size)
        return samples

    def scaled_loss(self) -> Any:
        """Return a policy loss that depends on a tensor of its own."""
        own_loss = clipped_surrogate_loss(0.2)
        scale = self.dice.uniform(POLICIES) + 0.5
        return lambda ratios, batch: scale * own_loss(ratios, batch)

    def updates(self, backend: Any) -> Callable[[int], Tensors]:
        step = make_update(self.ppo, backend)
        shuffling = torch.Generator(self.dice.device).manual_seed(2)

        def run(count: int) -> Tensors:
            metrics: Tensors = {}
            for _ in range(count):
                loss = self.scaled_loss() if self.other_loss else None
                rates = 1e-2 * self.dice.uniform(POLICIES)
                metrics = ppo_update(step, self.samples(), self.ppo.settings, rates, shuffling, loss)
            return metrics

        return run

    def state(self) -> Tensors:
        return {"parameters": self.ppo.parameters.detach(), **self.ppo.optimizer.state_dict()}


def td3(device: torch.device, **settings: Any) -> TD3:
    own = TD3Settings(hidden_sizes=(12, 9), discount=0.9, **settings)
    return TD3(OBSERVATION, ACTION, OBJECTIVES, own, range(POLICIES), device)


def sac(device: torch.device, kind: Any = SAC, width: int = OBSERVATION, **settings: Any) -> Any:
    outputs = ACTION if kind is SAC else 4
    own = SACSettings(hidden_sizes=(12, 9), discount=0.9, target_entropy=0.3, **settings)
    return kind(width, outputs, OBJECTIVES, own, POLICIES, torch.Generator().manual_seed(0), device)


def dqn(device: torch.device, **settings: Any) -> DQN:
    own = DQNSettings(hidden_sizes=(12, 9), discount=0.9, **settings)
    return DQN(OBSERVATION, 4, OBJECTIVES, own, POLICIES, torch.Generator().manual_seed(0), device)


ACCRUED = OBSERVATION + OBJECTIVES + 1
LEARNERS: dict[str, Callable[[torch.device], Any]] = {
    "td3": lambda device: OffPolicy(
        td3(device, layer_norm=True, loss="huber", action_gradient="leaky", actor_starts=3), device
    ),
    "td3, angles": lambda device: OffPolicy(
        td3(device, critic_angle=0.02, actor_angle=0.05, max_grad_norm=1.0, policy_delay=3), device, angles=True
    ),
    "td3, bfloat16": lambda device: OffPolicy(td3(device, precision="bfloat16"), device),
    "sac": lambda device: OffPolicy(sac(device), device),
    "sac, tchebycheff, accrued": lambda device: OffPolicy(
        sac(device, width=ACCRUED, temperature=0.1), device, "tchebycheff", accrued=True
    ),
    "sac, shared layers": lambda device: OffPolicy(sac(device, shared_layers=1, policy_delay=3), device),
    "discrete sac, masked": lambda device: OffPolicy(
        sac(device, DiscreteSAC), device, "smooth-tchebycheff", masks=True
    ),
    "dqn": lambda device: OffPolicy(dqn(device), device),
    "dqn, pbi": lambda device: OffPolicy(dqn(device, activation="silu", normalization="layer"), device, "pbi"),
    "ppo": OnPolicy,
    "ppo, discrete": lambda device: OnPolicy(device, discrete=True),
    "ppo, other losses": lambda device: OnPolicy(device, other_loss=True),
    "ppo, memory": lambda device: OnPolicy(device, memory=4),
}
"""Name -> what builds a learner on a device."""

learners = pytest.mark.parametrize("build", LEARNERS.values(), ids=LEARNERS)


def copied(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def assert_same(found: Tensors, expected: Tensors, device: torch.device, tolerance: float) -> None:
    exact = device.type != "cuda"
    for name, tensor in expected.items():
        limit = 0.0 if exact else tolerance
        torch.testing.assert_close(found[name], tensor, rtol=limit, atol=limit, msg=lambda text, n=name: f"{n}: {text}")


@contextmanager
def waits_forbidden(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        with pretend.forbid_waits():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def graphs(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the backend capture graphs of the device; return the pretended ones that are built."""
    monkeypatch.setattr(PretendGraph, "every", [])
    if device.type != "cuda":
        monkeypatch.setattr(cuda_graph, "CudaGraph", PretendGraph)
    return PretendGraph.every


# --- The same updates -------------------------------------------------------------------------------------------------


@learners
def test_updates_are_those_of_the_cpu(build: Any, device: torch.device) -> None:
    found = []
    for place in (CPU, device):
        learner = build(place)
        metrics = learner.updates("eager")(4)
        found.append(copied({**metrics, **learner.state()}))
    assert_same(found[1], found[0], device, tolerance=2e-3)


@learners
def test_an_update_waits_for_nothing(build: Any, device: torch.device) -> None:
    learner = build(device)
    if isinstance(learner, OffPolicy):
        update = make_update(learner.algorithm, "eager")
        update(learner.batches(2))  # libraries set themselves up
        batches = learner.batches(4)
        with waits_forbidden(device):
            update(batches)
        return
    step = make_update(learner.ppo, "eager")
    samples, rates = learner.samples(), learner.dice.uniform(POLICIES)
    step(samples, rates)
    with waits_forbidden(device):
        step(samples, rates)


@learners
def test_replayed_updates_are_eager_ones(build: Any, device: torch.device, graphs: list[PretendGraph]) -> None:
    """In steps of four updates, so that phases of delayed policies repeat; once with another number of updates."""
    counts = [4] * 5 + [1] + [4] * 4
    found = []
    for backend in ("eager", "cuda-graph"):
        learner = build(device)
        run = learner.updates(backend)
        for count in counts:
            metrics = run(count)
        found.append(copied({**metrics, **learner.state()}))
        if isinstance(learner, OffPolicy):
            assert learner.algorithm.updates == sum(counts)
    assert_same(found[1], found[0], device, tolerance=1e-6)  # the same kernels in the same order
    if device.type != "cuda":
        assert sum(graph.replays for graph in graphs) > 0


def test_many_updates_are_several_graphs(device: torch.device, graphs: list[PretendGraph]) -> None:
    learner = OffPolicy(td3(device), device)
    run = learner.updates("cuda-graph")
    for _ in range(5):
        run(2 * cuda_graph.MAX_UPDATES + 4)
    assert learner.algorithm.updates == 5 * (2 * cuda_graph.MAX_UPDATES + 4)
    assert device.type == "cuda" or len(graphs) == 2


@pytest.mark.parametrize("backend", ["eager", "cuda-graph"])
def test_tf32_lasts_for_the_updates_that_ask_for_it(
    backend: Any, device: torch.device, graphs: list[PretendGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a GPU computes in TF32: on the pretended device the numbers are those of float32."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    seen = []
    for precision in ("float32", "tf32"):
        learner = OffPolicy(td3(device, precision=precision), device)
        update = learner.algorithm.update
        monkeypatch.setattr(
            learner.algorithm, "update", lambda batch, own=update: seen.append(matmul.fp32_precision) or own(batch)
        )
        run = make_update(learner.algorithm, backend)
        assert run.backend == backend
        run(learner.batches(2))
        assert matmul.fp32_precision == before
    assert seen == [before] * 2 + ["tf32"] * 2


@pytest.mark.parametrize("backend", ["auto", "eager", "numba"])
def test_a_cpu_has_no_tf32(backend: Any) -> None:
    with pytest.raises(ValueError, match="precision is 'tf32', but device is 'cpu', and only GPUs have TF32"):
        make_update(td3(CPU, precision="tf32"), backend)


LAUNCHES = {
    "td3": 112,
    "td3, angles": 150,
    "td3, angles, as published": 127,
    "td3, plain": 106,
    "td3, improved": 112,
    "sac": 187,
    "sac, tchebycheff, accrued": 225,
    "discrete sac": 138,
    "discrete sac, masked": 212,
    "dqn": 56,
    "ppo": 157,
    "ppo, without bonus": 157,
    "ppo, discrete": 157,
    "ppo, discrete, no masks": 157,
}
"""Learner -> most launches of an update, the average over updates with and without actors: each costs microseconds.

They are those of the first study of the path, where it had counted the learner; masks of discrete SAC cost more.
"""

OTHERS: dict[str, Callable[[torch.device], Any]] = {
    "td3, improved": lambda device: OffPolicy(
        td3(device, max_grad_norm=100.0, loss="huber", utility_loss=1.0, layer_norm=True, action_gradient="leaky"),
        device,
    ),
    "td3, plain": lambda device: OffPolicy(td3(device), device),
    "td3, angles, as published": lambda device: OffPolicy(
        td3(device, critic_angle=1.0, actor_angle=10.0, max_grad_norm=100.0, policy_delay=10, loss="huber"),
        device,
        angles=True,
    ),
    "discrete sac": lambda device: OffPolicy(sac(device, DiscreteSAC), device),
    "ppo, without bonus": lambda device: OnPolicy(device, entropy_weight=0.0),
    "ppo, discrete, no masks": lambda device: OnPolicy(device, discrete=True, masked=False),
}
"""Further learners whose launches are counted."""


@pytest.mark.parametrize("name", LAUNCHES)
def test_an_update_launches_few_operations_whatever_the_number_of_policies(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cuda":
        pytest.skip("launches are counted on the pretended device")
    found = []
    for policies in (1, 5):
        monkeypatch.setattr(sys.modules[__name__], "POLICIES", policies)
        learner = (LEARNERS | OTHERS)[name](device)
        count = 30  # a multiple of every delay
        if isinstance(learner, OffPolicy):
            update = make_update(learner.algorithm, "eager")
            batches = learner.batches(count)
            with pretend.watched() as log:
                update(batches)
        else:
            count = 1
            step = make_update(learner.ppo, "eager")
            samples = learner.samples()
            rates = learner.dice.uniform(policies)
            with pretend.watched() as log:
                step(samples, rates)
        found.append(log.total(pretend.KERNEL) / count)
    assert found[0] == found[1] <= LAUNCHES[name], found
