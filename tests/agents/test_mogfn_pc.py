"""MOGFN-PC: losses beside exact flows, the distribution that it samples, orders, parents, refusals, policies."""

from itertools import product
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import morl
from morl.agents.mogfn_pc.agent import MOGFNPC
from morl.agents.mogfn_pc.config import Config
from morl.agents.mogfn_pc.losses import (
    Conditions,
    log_reward,
    order_preserving,
    trajectory_balance,
    uniform_log_backward,
)
from morl.envs.core.registry import problem
from morl.envs.families.hyper_grid import cell_values
from morl.learning.encoders import Architecture
from morl.learning.thermometer import ThermometerNetwork, thermometer
from morl.learning.types import ImageShape, Thermometer
from morl.pareto import non_dominated
from morl.policy_files import PolicySpec

pytestmark = pytest.mark.usefixtures("without_figures")

CPU = torch.device("cpu")
GRID = "hyper-grid-v0"
STOP = 2


# --- Losses on a grid of two by two cells, all trajectories of which are enumerated -----------------------------------

CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]
PATHS = [(STOP,), (1, STOP), (0, STOP), (0, 1, STOP), (1, 0, STOP)]
REWARDS = {(0, 0): 0.3, (0, 1): 2.0, (1, 0): 0.5, (1, 1): 4.0}


def walk(path: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the cells before each action."""
    cells = [(0, 0)]
    for action in path[:-1]:
        x, y = cells[-1]
        cells.append((x + (action == 0), y + (action == 1)))
    return cells


def exact_log_forward(path: tuple[int, ...]) -> float:
    """Return log P_F of a trajectory under the flow that splits each cell's reward evenly over its parents."""
    flow = dict(REWARDS)
    flow[1, 0] += flow[1, 1] / 2.0
    flow[0, 1] += flow[1, 1] / 2.0
    flow[0, 0] += flow[1, 0] + flow[0, 1]
    total = 0.0
    for cell, action in zip(walk(path), path, strict=True):
        x, y = cell
        if action == STOP:
            edge = REWARDS[cell]
        else:
            target = (x + (action == 0), y + (action == 1))
            edge = flow[target] / (2.0 if target == (1, 1) else 1.0)
        total += float(np.log(edge / flow[cell]))
    return total


def backward_of(paths: list[tuple[int, ...]]) -> Tensor:
    steps = max(len(path) for path in paths)
    parents = torch.zeros(len(paths), steps)
    valid = torch.zeros(len(paths), steps)
    for row, path in enumerate(paths):
        valid[row, : len(path)] = 1.0
        parents[row, : len(path)] = torch.tensor([float((x > 0) + (y > 0)) for x, y in walk(path)])
    parents[valid == 0] = 7.0  # behind the end, nothing counts
    return uniform_log_backward(parents, valid)


FORWARD = torch.tensor([exact_log_forward(path) for path in PATHS])
BACKWARD = backward_of(PATHS)
LOG_REWARDS = torch.tensor([float(np.log(REWARDS[walk(path)[-1]])) for path in PATHS])
LOG_Z = torch.tensor(sum(REWARDS.values())).log().expand(len(PATHS))


def test_backward_chances_of_each_object_sum_to_one() -> None:
    assert BACKWARD.tolist() == pytest.approx([0.0, 0.0, 0.0, np.log(0.5), np.log(0.5)])


def test_an_exact_flow_is_balanced() -> None:
    losses = trajectory_balance(LOG_Z, FORWARD, BACKWARD, LOG_REWARDS)
    torch.testing.assert_close(losses, torch.zeros(len(PATHS)), atol=1e-10, rtol=0.0)
    assert FORWARD.exp().sum().item() == pytest.approx(1.0)
    wrong = trajectory_balance(LOG_Z + 0.5, FORWARD, BACKWARD, LOG_REWARDS)
    torch.testing.assert_close(wrong, torch.full((len(PATHS),), 0.25))


def test_another_flow_is_not_balanced() -> None:
    other = FORWARD.clone()
    other[3] += 0.3
    losses = trajectory_balance(LOG_Z, other, BACKWARD, LOG_REWARDS)
    assert (losses > 1e-6).nonzero().flatten().tolist() == [3]


@given(st.lists(st.floats(-5.0, 5.0), min_size=2, max_size=8), st.data())
def test_the_order_raises_the_best_and_lowers_the_others(logits: list[float], data: st.DataObject) -> None:
    forward = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    backward = torch.tensor(data.draw(st.lists(st.floats(-2.0, 0.0), min_size=len(logits), max_size=len(logits))))
    best = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits))))
    best[0] = True
    (gradient,) = torch.autograd.grad(order_preserving(forward, backward, best), forward)
    shares = (forward - backward).softmax(dim=0).detach()
    torch.testing.assert_close(gradient, shares - best / best.sum())  # of softmax and cross-entropy
    assert (gradient[~best] >= 0).all()  # descent lowers the dominated
    assert gradient[best][shares[best].argmin()] <= 0  # and raises the one of the best that is learned least
    assert abs(gradient.sum().item()) < 1e-9


def test_all_of_the_best_with_equal_shares_cannot_be_improved() -> None:
    forward = torch.tensor([0.0, 0.0, -60.0], dtype=torch.float64, requires_grad=True)
    loss = order_preserving(forward, torch.zeros(3), torch.tensor([True, True, False]))
    assert loss.item() == pytest.approx(np.log(2.0))
    (gradient,) = torch.autograd.grad(loss, forward)
    torch.testing.assert_close(gradient, torch.zeros(3, dtype=torch.float64))


def test_rewards_are_powers_of_weighted_returns() -> None:
    returns = torch.tensor([[0.5, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    ideal = torch.tensor([1.0, 1.0])
    conditions = Conditions(torch.tensor([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]), torch.tensor([2.0, 3.0, 1.0]))
    found = log_reward(conditions, returns, ideal, "weighted-sum", 50.0)
    torch.testing.assert_close(found, torch.tensor([2.0 * np.log(0.75), 3.0 * np.log(0.25), -50.0]).float())
    product_rule = log_reward(conditions, returns, ideal, "weighted-log-sum", 50.0)
    torch.testing.assert_close(product_rule, torch.tensor([np.log(0.5), -50.0, -50.0]).float())
    scaled = log_reward(conditions, 1000.0 * returns, 1000.0 * ideal, "weighted-sum", 50.0)
    torch.testing.assert_close(scaled, found)
    nothing = log_reward(conditions, 0.0 * returns, 0.0 * ideal, "weighted-log-sum", 50.0)
    assert torch.isfinite(nothing).all()


# --- What is sampled --------------------------------------------------------------------------------------------------


def build(env: Any = GRID, num_envs: int = 16, options: Any = None, **changes: Any) -> MOGFNPC:
    return MOGFNPC(problem(env, **options or {}), Config(**changes), 3, num_envs, CPU)


def learn(agent: MOGFNPC, updates: int, env: Any = GRID, **options: Any) -> None:
    for _ in agent.learn(morl.make_vec(env, agent.num_envs, **options), 10_000_000, no_evaluation):
        if agent.updates == updates:
            return


def no_evaluation(preferences: Any, episodes: int, policies: Any = None) -> Any:
    raise AssertionError("MOGFN-PC evaluates nothing")


def distribution(agent: MOGFNPC, side: int, condition: list[float]) -> np.ndarray:
    """Return the chance [cell] that an episode of the policy stops in each cell, by passing on the chance of cells."""
    cells = list(product(range(side), repeat=2))
    inputs = np.column_stack([agent.encode(np.array(cells, dtype=np.int32)), np.tile(condition, (len(cells), 1))])
    logits = agent.policy_network(agent.parameters, torch.as_tensor(inputs, dtype=torch.float32)[None])[0]
    allowed = torch.tensor([[x < side - 1, y < side - 1, True] for x, y in cells])
    chances = logits.masked_fill(~allowed, -torch.inf).softmax(dim=1).detach().numpy()
    reached = np.zeros(len(cells))
    reached[0] = 1.0
    stopped = np.zeros(len(cells))
    for number, (x, y) in sorted(enumerate(cells), key=lambda item: sum(item[1])):
        stopped[number] = reached[number] * chances[number, STOP]
        for action, target in ((0, (x + 1, y)), (1, (x, y + 1))):
            if target in cells:
                reached[cells.index(target)] += reached[number] * chances[number, action]
    return stopped


def test_samples_are_in_proportion_to_the_reward() -> None:
    agent = build(
        options={"side": 4},
        num_envs=32,
        exponent_source="uniform",
        exponent=(2.0, 8.0),
        acting_exponent=8.0,
        batch_size=64,
        hidden_sizes=(64, 64),
        learning_rate=5e-3,
        learning_rate_half_life=200.0,
    )
    before = distribution(agent, 4, [0.5, 0.5, 0.5])
    learn(agent, 500, side=4)
    values = cell_values(4, 2, 2)
    for weight, exponent in product((0.3, 0.5, 0.8), (3.0, 6.0)):
        preference = np.array([weight, 1.0 - weight])
        target = (values @ preference) ** exponent
        target /= target.sum()
        found = distribution(agent, 4, [*preference, exponent / 8.0])
        assert found.sum() == pytest.approx(1.0)
        assert 0.5 * np.abs(found - target).sum() < 0.1  # total variation
        assert 0.5 * np.abs(before - target).sum() > 0.15
        conditions = torch.tensor([[[*preference, exponent / 8.0]]], dtype=torch.float32)
        log_z = agent.z_network(agent.z_parameters, conditions).item()
        ideal = (agent.ideal.numpy() @ preference) ** exponent
        assert log_z == pytest.approx(np.log(((values @ preference) ** exponent / ideal).sum()), abs=0.15)


def test_the_order_finds_the_whole_front() -> None:
    agent = build(options={"side": 6}, num_envs=32, loss="order-preserving", hidden_sizes=(64, 64))
    learn(agent, 120, side=6)
    values = cell_values(6, 2, 2)
    front = non_dominated(values)
    found = distribution(agent, 6, [0.0, 0.0, 0.0])
    assert found[front].sum() > 0.8
    assert found[front].min() > 0.3 / front.sum()
    ids, preferences = agent.policies(np.eye(2))
    assert ids.tolist() == [0]
    assert np.isnan(preferences).all()


def test_leaves_of_a_tree_are_found(tmp_path: Path) -> None:
    """Of the fork's leaves (0, 10), (6, 6), (3, 3), (10, 0) weighted sums prefer three."""
    run = morl.train(
        "mogfn-pc",
        "toy-fork-v0",
        total_steps=6_000,
        run_dir=tmp_path / "run",
        reference_point=(0.0, 0.0),
        config=toys.TINY_MOGFN
        | {"batch_size": 32, "hidden_sizes": (32,), "exponent": (4.0, 32.0), "acting_exponent": 32.0},
        **toys.SCHEDULE | {"num_envs": 16, "evaluate_every": 3_000, "log_every": 1_000, "evaluation_divisions": 10},
    )
    np.testing.assert_allclose(np.sort(run.front.points[:, 0]), 0.99 * np.array([0.0, 6.0, 10.0]), atol=1e-9)
    assert {"loss", "log_z", "log_reward", "episode_steps", "non_dominated_share"} <= run.metrics().keys()
    policy = run.policy([0.5, 0.5], conditioned=True)
    actions = {int(policy.predict(0, deterministic=False)[0]) for _ in range(20)}
    assert actions <= {0, 1}
    policy.save(tmp_path / "policy.pt")
    loaded = morl.load_policy(tmp_path / "policy.pt")
    assert loaded.data.spec.preference_bins == 3
    assert loaded.predict(0)[0] == policy.predict(0)[0]


@pytest.mark.parametrize("loss", ["trajectory-balance", "order-preserving"])
@pytest.mark.parametrize("stop", [6, 37, 90])
def test_a_run_on_the_grid_is_resumed_exactly(loss: str, stop: int, tmp_path: Path) -> None:
    config = {"loss": loss, "batch_size": 6, "hidden_sizes": (8,)}
    schedule = toys.SCHEDULE | {"num_envs": 3, "env_options": {"side": 4}}
    morl.train("mogfn-pc", GRID, total_steps=150, run_dir=tmp_path / "whole", config=config, **schedule)
    morl.train("mogfn-pc", GRID, total_steps=stop, run_dir=tmp_path / "parts", config=config, **schedule)
    morl.resume(tmp_path / "parts", 150)
    states = [toys.states(tmp_path / name, "agent") for name in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""
    assert states[0]["agent"]["updates"] > 3


@pytest.mark.parametrize(
    ("source", "numbers", "low", "high"),
    [
        ("constant", (9.0,), 9.0, 9.0),
        ("gamma", (16.0, 1.0), 4.0, 40.0),
        ("uniform", (2.0, 3.0), 2.0, 3.0),
        ("log-uniform", (2.0, 32.0), 2.0, 32.0),
    ],
)
def test_conditions_are_drawn_for_each_episode(
    source: str, numbers: tuple[float, ...], low: float, high: float
) -> None:
    acting = numbers[0]
    agent = build(exponent_source=source, exponent=numbers, acting_exponent=acting, batch_size=500)
    exponents = agent.conditions[:, 2] * agent.config.largest_exponent
    assert low - 1e-4 <= exponents.min() <= exponents.max() <= high + 1e-4
    if source != "constant":
        assert exponents.max() - exponents.min() > 0.5 * min(high - low, 20.0)
    assert len(np.unique(agent.conditions[:, 0])) == 500
    np.testing.assert_allclose(agent.conditions[:, :2].sum(axis=1), 1.0, rtol=1e-6)
    if source == "log-uniform":
        assert (exponents < 8.0).mean() == pytest.approx(0.5, abs=0.1)


# --- The thermometer code ---------------------------------------------------------------------------------------------


def test_bins_fill_one_after_the_other() -> None:
    found = thermometer(torch.tensor([[0.0, 1.0], [0.375, 0.5]]), 4)
    assert found.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [1, 0.5, 0, 0, 1, 1, 0, 0]]


@pytest.mark.parametrize("hidden_sizes", [(), (5,), (7, 4)])
@pytest.mark.parametrize("constants", [1, 3])
def test_constant_columns_become_biases(hidden_sizes: tuple[int, ...], constants: int) -> None:
    whole = network_of(hidden_sizes, 3, inputs=5)
    generator = torch.Generator().manual_seed(0)
    parameters = whole.initialize(2, generator)
    parameters += 0.1 * torch.randn(parameters.shape, generator=generator)
    inputs = torch.rand(2, 9, 5, generator=generator)
    values = torch.rand(constants, generator=generator)
    inputs[:, :, 5 - constants :] = values
    shortened = whole.with_constants(parameters, values)
    if constants == 3:
        plain = Architecture(hidden_sizes=hidden_sizes, activation="tanh").build("actor", 2, 3)
        found = plain(shortened, inputs[:, :, :2])
    else:
        found = network_of(hidden_sizes, 2, inputs=4)(shortened, inputs[:, :, :4])
    torch.testing.assert_close(found, whole(parameters, inputs))


def network_of(hidden_sizes: tuple[int, ...], columns: int, inputs: int) -> ThermometerNetwork:
    architecture = Architecture(hidden_sizes=hidden_sizes, activation="tanh", thermometer=Thermometer(columns, 6))
    network = architecture.build("actor", inputs, 3)
    assert isinstance(network, ThermometerNetwork)
    assert network.widths == (inputs, *hidden_sizes, 3)
    return network


def test_a_thermometer_code_is_for_plain_layers() -> None:
    with pytest.raises(ValueError, match="a thermometer code is for plain layers"):
        Architecture(hidden_sizes=(8,), thermometer=Thermometer(2, 4), images=(ImageShape(1, 8, 8),))


@pytest.mark.parametrize("bins", [-1, 20_000, True, 2.0])
def test_impossible_bins_in_a_file_are_refused(bins: object) -> None:
    record = build(**toys.TINY_MOGFN).bank.spec.record()
    assert PolicySpec.of_record(record).preference_bins == 3
    with pytest.raises(ValueError, match="the policy's preference_bins is"):
        PolicySpec.of_record(record | {"preference_bins": bins})
    with pytest.raises(ValueError, match="the policy's preference_bins is"):
        PolicySpec.of_record(record | {"conditioned": False})


# --- Parents, and refusals --------------------------------------------------------------------------------------------


class Jumps(gymnasium.Env[Any, Any]):
    """Looks like a grid, but the first action moves two cells, and the second pays at once."""

    jump = 1
    pay = 0.0

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 9, (2,), np.int32)
        self.action_space = spaces.Discrete(3)
        self.reward_space = spaces.Box(0.0, 1.0, (2,), np.float64)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = np.zeros(2, dtype=np.int32)
        return self.cell.copy(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if action == STOP or self.cell.max() > 6:
            return self.cell.copy(), np.array([0.5, 0.5]), True, False, {}
        self.cell[action] += self.jump if action == 0 else 1
        return self.cell.copy(), np.full(2, self.pay if action == 1 else 0.0), False, False, {}


def two(observations: Any) -> Any:
    return np.full(len(observations), 2)


def none_at_all(observations: Any) -> Any:
    return np.zeros((len(observations), 1))


def halves(observations: Any) -> Any:
    return np.full(len(observations), 0.5)


def never(observations: Any) -> Any:
    return np.zeros(len(observations))


def failing(observations: Any) -> Any:
    raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"jump": 2}, r"action 0 led from \[\d, \d\] to \[\d, \d\] and paid"),
        ({"pay": 0.25}, "action 1 led from .*0.25"),
    ],
)
def test_what_is_no_grid_is_noticed(changes: dict[str, Any], sentence: str) -> None:
    kind: Any = type("Jumps", (Jumps,), changes)
    agent = MOGFNPC(problem(kind), Config(batch_size=8), 3, 4, CPU)
    with pytest.raises(ValueError, match=f"parents is 'grid', but {sentence}"):
        learn(agent, 3, kind)


def test_the_same_grid_is_learned_from() -> None:
    agent = MOGFNPC(problem(Jumps), Config(batch_size=8), 3, 4, CPU)
    learn(agent, 3, Jumps)
    assert agent.updates == 3


@pytest.mark.parametrize("env", ["deep-sea-treasure-v0", "fruit-tree-v0", "server-queues-v0", "mec-offloading-v0"])
def test_what_cannot_be_a_grid_is_refused_before_anything_is_written(env: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parents is 'grid', but must be your own 'module:function' on"):
        morl.train("mogfn-pc", env, total_steps=100, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_continuous_actions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mogfn-pc needs actions of kind Discrete"):
        morl.train("mogfn-pc", "water-reservoir-v0", total_steps=100, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_parents_are_counted() -> None:
    grid = build(batch_size=4)
    assert grid.parents(np.array([[0, 0], [3, 0], [0, 1], [31, 2]])).tolist() == [0, 1, 1, 2]
    tree = build("fruit-tree-v0", parents="tree")
    assert tree.parents(np.zeros((3, 2))).tolist() == [1, 1, 1]
    nested = build("toy-nested-walk-v0", parents="tree")
    observations, _ = morl.make_vec("toy-nested-walk-v0", 5).reset(seed=0)
    assert nested.parents(observations).tolist() == [1, 1, 1, 1, 1]
    own = build(parents=f"{__name__}:two", batch_size=8)
    learn(own, 2)
    wrong = build(parents=f"{__name__}:none_at_all", batch_size=8)
    with pytest.raises(ValueError, match=r"which returned .* but must return the number of parents of each of 16"):
        learn(wrong, 2)
    for name, sentence in (
        ("halves", r"which returned .* but must return the number of parents of each of 16"),
        ("never", "but counts no parent of a state that a step led to"),
        ("failing", "which raised RuntimeError: no idea"),
    ):
        wrong = build(parents=f"{__name__}:{name}", batch_size=8)
        with pytest.raises(ValueError, match=f"parents is '{__name__}:{name}', {sentence}"):
            learn(wrong, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": "flow-matching"}, "loss is 'flow-matching', but must be one of trajectory-balance, order-preserving"),
        ({"parents": "many"}, "parents is 'many', but must be grid, tree or your own 'module:function'"),
        ({"parents": "toys:nothing"}, "parents is 'toys:nothing', but it cannot be imported"),
        ({"exponent": (4.0,)}, "exponent is .* but must be 2 finite numbers greater than 0"),
        ({"exponent": (8.0, 4.0), "acting_exponent": 4.0}, "the first number must be smaller than the second"),
        ({"exponent_source": "constant", "exponent": (8.0,)}, "acting_exponent is 512.0, but must be 8.0"),
        ({"acting_exponent": 600.0}, "acting_exponent is 600.0, but must be at most 512.0"),
        ({"random_share": 1.5}, "random_share is 1.5, but must lie between 0 and 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be finite and greater than 0"),
        ({"log_reward_range": float("inf")}, "log_reward_range is inf, but must be finite"),
        ({"preference_bins": 0}, "preference_bins is 0, but must be finite and greater than 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0, but must be finite and not negative"),
        ({"hidden_sizes": ()}, "hidden_sizes is"),
        ({"hidden_sizes_z": (0,)}, "hidden_sizes_z is"),
        ({"loss": "order-preserving", "concentration": 2.0}, "concentration is 2.0, which has no effect"),
        ({"loss": "order-preserving", "learning_rate_z": 2.0}, "learning_rate_z is 2.0, which has no effect"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(**changes)


def test_presets_are_values() -> None:
    assert Config.paper().exponent_source == "gamma"
    assert Config.paper().largest_exponent == 32.0
    assert Config.preset("order-preserving").loss == "order-preserving"
    with pytest.raises(ValueError, match="preset is 'original', but must be one of paper, order-preserving"):
        Config.preset("original")
