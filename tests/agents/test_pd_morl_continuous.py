"""MO-TD3-HER: one update against a hand-written one, its options, its guards, and what it learns."""

import warnings
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import toys
from gymnasium import spaces

import morl
import morl.envs
from morl.agents.pd_morl.config import ContinuousConfig
from morl.agents.pd_morl.continuous import ContinuousPDMORL, reward_sizes
from morl.agents.pd_morl.hindsight import HindsightBatches
from morl.envs.core.registry import problem
from morl.learning.actions import BoundedActions

pytestmark = pytest.mark.usefixtures("without_figures")

WALK = "toy-continuous-walk-v0"


def build(num_envs: int = 4, preset: str = "improved", **config: Any) -> ContinuousPDMORL:
    settings = ContinuousConfig.preset(preset, **toys.TINY_CONTINUOUS | config)
    return ContinuousPDMORL(problem(WALK), settings, 3, num_envs, torch.device("cpu"))


def network(row: torch.Tensor, widths: tuple[int, ...], inputs: torch.Tensor, norm: bool = False) -> torch.Tensor:
    """Return the outputs of one flat row of parameters, layer by layer."""
    hidden, position = inputs, 0
    for layer, (wide_in, wide_out) in enumerate(pairwise(widths)):
        weights = row[position : position + wide_in * wide_out].reshape(wide_in, wide_out)
        position += wide_in * wide_out
        hidden = hidden @ weights + row[position : position + wide_out]
        position += wide_out
        if layer < len(widths) - 2:
            if norm:
                centred = hidden - hidden.mean(dim=1, keepdim=True)
                hidden = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
            hidden = hidden.clamp(min=0.0)
    return hidden


def random_batch(size: int = 24) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(11)
    columns = {
        "observation": generator.normal(size=(1, size, 2)),
        "action": generator.uniform(-1, 1, size=(1, size, 1)),
        "reward": generator.normal(size=(1, size, 2)) * 3,
        "next_observation": generator.normal(size=(1, size, 2)),
        "terminated": generator.integers(2, size=(1, size, 1)),
        "preference": generator.dirichlet(np.ones(2), size=(1, size)),
        "noise": generator.normal(size=(1, size, 1)) * 2,
    }
    return {name: torch.tensor(column, dtype=torch.float32) for name, column in columns.items()}


def update(agent: ContinuousPDMORL, batch: dict[str, torch.Tensor]) -> None:
    """Learn from one batch, as if `HindsightReplay.draw` had drawn it."""
    names = ("observation", "action", "reward", "next_observation", "terminated")
    rows = torch.cat([batch[name] for name in names], dim=-1)
    index = torch.arange(rows.shape[1]).expand(len(rows), 1, -1)
    preferences, noise = batch["preference"].unsqueeze(1), batch["noise"].unsqueeze(1)
    agent._learn(HindsightBatches(rows=rows, index=index, preferences=preferences, noise=noise))


def huber(errors: torch.Tensor) -> torch.Tensor:
    return torch.where(errors.abs() < 1, 0.5 * errors**2, errors.abs() - 0.5)


@pytest.mark.parametrize("preset", ["paper", "improved"])
def test_one_update_is_that_of_the_paper(preset: str) -> None:
    agent = build(preset=preset, discount=0.9, policy_delay=1, learning_rate=0.01, tau=0.25, actor_angle=2.0,
                  critic_angle=0.5, utility_loss=0.0 if preset == "paper" else 1.0,
                  key_pretraining_steps=0)  # fmt: skip
    scales = torch.tensor([1.0, 1.0] if preset == "paper" else [3.0, 0.5]).double()
    agent.scales[:] = scales.float()
    agent.td3.actors.data[:, -1] += 1.7  # the last bias: actions near the end of their range
    for target in (agent.td3.target_actors, agent.td3.target_critics):
        target += 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    actor = agent.td3.actors.detach()[0].double()
    critics = [row.double().requires_grad_() for row in agent.td3.critics.detach().view(2, -1)]
    target_actor, targets_of = agent.td3.target_actors[0].double(), agent.td3.target_critics.double().view(2, -1)
    batch = random_batch()
    flat = {name: column[0].double() for name, column in batch.items()}
    weights, norm = flat["preference"] * scales / scales.mean(), preset == "improved"
    directions = agent.keys.directions(batch["preference"])[0].double() / scales
    actor_widths, critic_widths = (4, 16, 16, 1), (5, 16, 16, 2)

    def angle(values: torch.Tensor) -> torch.Tensor:
        cosines = (values * directions).sum(dim=1) / values.norm(dim=1) / directions.norm(dim=1)
        return torch.rad2deg(torch.arccos(cosines.clamp(0.0, 0.9999)))

    with torch.no_grad():
        after = torch.cat([flat["next_observation"], flat["preference"]], dim=1)
        level, most = (0.2, 0.5) if preset == "paper" else (0.05, 0.1)
        noise = (level * flat["noise"]).clamp(-most, most)
        actions = (torch.tanh(network(target_actor, actor_widths, after)) + noise).clamp(-1, 1)
        both = [network(row, critic_widths, torch.cat([after, actions], dim=1), norm) for row in targets_of]
        first_is_lower = (both[0] * weights).sum(dim=1) <= (both[1] * weights).sum(dim=1)
        lowest = torch.where(first_is_lower[:, None], both[0], both[1])
        wanted = flat["reward"] / scales + 0.9 * (1 - flat["terminated"]) * lowest
    now = torch.cat([flat["observation"], flat["preference"]], dim=1)
    loss = torch.zeros((), dtype=torch.float64)
    for row in critics:
        values = network(row, critic_widths, torch.cat([now, flat["action"]], dim=1), norm)
        errors = values - wanted
        loss = loss + huber(errors).mean() + 0.5 * angle(values).mean()
        if preset == "improved":
            loss = loss + huber((errors * weights).sum(dim=1)).mean()
    gradients = torch.autograd.grad(loss, critics)

    update(agent, batch)
    np.testing.assert_allclose(agent.metrics()["loss"], loss.item(), rtol=1e-4)
    for row, gradient, start in zip(agent.td3.critics.detach().double().view(2, -1), gradients, critics, strict=True):
        clear = gradient.abs() > 1e-4
        assert clear.sum() > 50
        expected = start.detach() - 0.01 * gradient.sign()  # Adam's first step
        torch.testing.assert_close(row[clear], expected[clear], rtol=0, atol=2e-5)
    # The actor climbs the first critic, as it is after its own step.
    moved = agent.td3.critics.detach().view(2, -1)[0].double()
    climbing = actor.clone().requires_grad_()
    proposed = network(climbing, actor_widths, now)
    actions = torch.tanh(proposed).detach().requires_grad_()
    values = network(moved, critic_widths, torch.cat([now, actions], dim=1), norm)
    (slopes,) = torch.autograd.grad((-(values * weights).sum(dim=1) + 2.0 * angle(values)).mean(), actions)
    derivative = 1 - actions.detach() ** 2
    back = (slopes * actions > 0) & (derivative < 0.25)
    assert back.any()
    factor = torch.where(back, 0.25, derivative) if preset == "improved" else derivative
    (gradient,) = torch.autograd.grad((proposed * slopes * factor).sum(), climbing)
    clear = gradient.abs() > 1e-3
    assert clear.sum() > 50
    torch.testing.assert_close(
        agent.td3.actors.detach()[0].double()[clear], (actor - 0.01 * gradient.sign())[clear], rtol=0, atol=2e-5
    )
    mixed = 0.75 * targets_of[0] + 0.25 * moved
    torch.testing.assert_close(agent.td3.target_critics.view(2, -1)[0].double(), mixed, rtol=0, atol=1e-6)


def test_gradients_are_clipped_over_both_critics_together() -> None:
    free, clipped = (build(key_pretraining_steps=0, max_grad_norm=clip) for clip in (1e9, 1e-3))
    for agent in (free, clipped):
        update(agent, random_batch())
    first = clipped.td3.critic_optimizer.first_moments / free.td3.critic_optimizer.first_moments
    shares = first[torch.isfinite(first) & (free.td3.critic_optimizer.first_moments.abs() > 1e-6)]
    assert shares.max() < 1.001 * shares.min()  # one factor for all
    torch.testing.assert_close(clipped.td3.critic_optimizer.first_moments.norm(), torch.tensor(1e-4), rtol=1e-2, atol=0)


def test_the_actor_and_targets_wait() -> None:
    agent = build(policy_delay=3)
    actor, target = agent.td3.actors.detach().clone(), agent.td3.target_critics.clone()
    for updates in range(1, 7):
        update(agent, random_batch())
        assert (
            torch.equal(agent.td3.actors, actor) == torch.equal(agent.td3.target_critics, target) == (updates % 3 != 0)
        )
        actor, target = agent.td3.actors.detach().clone(), agent.td3.target_critics.clone()


@pytest.mark.parametrize(("preset", "reported"), [("paper", "actors"), ("improved", "target_actors")])
def test_the_reported_actor_is_that_of_the_preset(preset: str, reported: str) -> None:
    agent = build(preset=preset, policy_delay=1, actor_start="at-once", key_pretraining_steps=0)
    for _ in range(3):
        update(agent, random_batch())
    assert not torch.equal(agent.td3.actors, agent.td3.target_actors)
    observations, preferences = np.array([[0.2, -0.4], [1.0, 0.3]]), np.array([[0.3, 0.7], [1.0, 0.0]])
    actor = getattr(agent.td3, reported).detach()[0].double()
    states = torch.as_tensor(np.concatenate([observations, preferences], axis=1))
    expected = torch.tanh(network(actor, (4, 16, 16, 1), states)).numpy()
    acted = agent.act(observations, preferences, np.zeros(2, dtype=np.int64))
    np.testing.assert_allclose(acted, agent.actions.to_environment(expected), rtol=0, atol=1e-5)
    exported = agent.export_policies()[0]
    torch.testing.assert_close(exported.parameters.double(), actor, rtol=0, atol=0)
    assert exported.spec.conditioned


@pytest.mark.parametrize("updates_per_step", [0.5, 1.0, 3.0])
def test_the_average_extends_over_a_share_of_the_updates(updates_per_step: float) -> None:
    """Against a loop over the actors after each step: averages forget as the number of updates says."""
    agent = build(evaluation_actor="average", learning_starts=20, batch_size=8, updates_per_step=updates_per_step)
    envs = morl.make_vec(WALK, 4)
    expected = agent.td3.actors.detach().clone()
    updates = 0
    for _ in agent.learn(envs, 120, _nothing):
        if agent.updates > updates:
            kept = (1.0 - 1.0 / (1.0 + 0.05 * updates)) ** (agent.updates - updates)
            expected = kept * expected + (1.0 - kept) * agent.td3.actors.detach()
            updates = agent.updates
    assert agent.export_policies()[0].parameters.tolist() == pytest.approx(expected[0].tolist(), abs=1e-6)
    assert updates > 40
    assert not torch.equal(expected, agent.td3.target_actors)


def test_time_limits_end_episodes_in_the_paper_only() -> None:
    for preset, expected in (("paper", True), ("improved", False)):
        agent = build(
            preset=preset, buffer_size=500, updates_per_step=1e-9, key_pretraining_steps=0, key_update_steps=10**6
        )
        for _ in agent.learn(morl.make_vec(WALK, 4), 400, _nothing):
            pass
        replay = agent.replay.buffer
        last = replay.column("next_observation")[0, :, 1] == 1.0  # the clock at the time limit
        assert last.any()
        assert bool(replay.column("terminated")[0, last, 0].all()) == expected


@pytest.mark.parametrize("backend", ["numba", "eager"])
def test_angles_count_from_their_start_step(backend: str) -> None:
    def after(steps: int, **config: Any) -> torch.Tensor:
        agent = build(learning_starts=20, batch_size=8, policy_delay=1, backend=backend, **config)
        assert agent.backend == backend
        for _ in agent.learn(morl.make_vec(WALK, 4), steps, _nothing):
            pass
        return agent.td3.actors.detach().clone()

    angles = {"actor_angle": 1.0, "critic_angle": 1.0}
    assert torch.equal(after(60, **angles, angle_start_step=64), after(60))
    assert not torch.equal(after(80, **angles, angle_start_step=64), after(80))


def _nothing(preferences: Any, episodes: int, policies: Any = None) -> Any:
    return np.zeros_like(preferences)


def test_actions_cover_the_range_and_stay_inside() -> None:
    agent = build(random_exploration_steps=10**6)
    assert (agent._explore() >= -1).all()
    actions = agent.actions.to_environment(np.array([[-1.0], [0.0], [1.0], [3.0]]))
    np.testing.assert_allclose(actions, [[-2.0], [-0.5], [1.0], [1.0]])
    assert actions.dtype == np.float32


def test_a_collapse_is_said() -> None:
    agent = build(key_update_steps=40)
    answers = iter([10.0, 9.0, 4.0, 4.5, 10.0, 1.0])

    def evaluate(preferences: Any, episodes: int, policies: Any = None) -> Any:
        return np.full_like(preferences, next(answers))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in agent.learn(morl.make_vec(WALK, 4), 256, evaluate):
            pass
    steps = [str(warning.message).split(":")[0] for warning in said]
    # Less than half at 120 and still at 160; again at 240. Each time all three keys say so once.
    assert steps == ["pd-morl at step 120"] * 3 + ["pd-morl at step 240"] * 3
    assert agent.metrics()["key_utility_0"] == 1.0


def test_pretraining_counts_its_steps_and_finds_the_keys() -> None:
    agent = build(num_envs=7, preset="paper", key_pretraining_steps=60, random_exploration_steps=20)
    asked: list[Any] = []

    def evaluate(preferences: Any, episodes: int, policies: Any = None) -> Any:
        asked.append(policies)
        return preferences + 1.0

    toys.STEPS.clear()
    for _ in agent.learn(morl.make_vec(WALK, 7), 70, evaluate):
        pass
    assert agent.pretraining_steps == 7 * 30  # two environments for each of three keys; one stands still, and counts
    assert toys.STEPS["ContinuousWalk"] == agent.pretraining_steps + agent.steps
    np.testing.assert_array_equal(asked[0], [1, 2, 3])  # the policies of the keys, not the agent's own
    assert agent.keys.measured.all()
    np.testing.assert_allclose(agent.keys.returns[0], agent.keys.preferences + 1.0)
    with pytest.raises(ValueError, match=r"num_envs is 2.*at least 3"):
        next(iter(build(num_envs=2, preset="paper").learn(morl.make_vec(WALK, 2), 70, evaluate)))


def test_a_replay_smaller_than_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer_size is 3, but must be at least num_envs, 4"):
        build(buffer_size=3, batch_size=2)


def test_integers_are_rounded() -> None:
    actions = BoundedActions(spaces.Box(0, 4, (1,), np.int64)).to_environment(np.array([[-1.0], [0.3], [0.9], [1.0]]))
    np.testing.assert_array_equal(actions, [[0], [3], [4], [4]])


def test_nothing_is_redrawn_before_relabeling_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, shares = build(relabeling_starts=40, key_pretraining_steps=0), []
    choose = agent.replay.choose

    def spied(count: int, size: int, share: float, *others: int, **named: int) -> Any:
        shares.append((agent.steps, share))
        return choose(count, size, share, *others, **named)

    monkeypatch.setattr(agent.replay, "choose", spied)
    for _ in agent.learn(morl.make_vec(WALK, 4), 80, lambda preferences, *_: preferences):
        pass
    assert {share for step, share in shares if step < 40} == {0.0}
    assert {share for step, share in shares if step >= 40} == {0.75}


def test_pretraining_goes_on_where_the_environment_cannot_be_saved() -> None:
    first, second = (build(preset="paper", key_pretraining_steps=60, random_exploration_steps=20) for _ in range(2))
    learning = first.learn(morl.make_vec(WALK, 4), 8, lambda preferences, *_: preferences)
    for _ in range(3):
        next(learning)
    second.load_state_dict(first.state_dict())
    second.reset_episodes()
    for _ in second.learn(
        morl.make_vec(WALK, 4), 8, lambda preferences, *_: preferences
    ):  # new environments: not reset yet
        pass
    assert (second.pretrained, second.steps) == (True, 8)


def test_actions_without_bounds_are_refused() -> None:
    unbounded = replace(problem(WALK), action_space=spaces.Box(-np.inf, np.inf, (1,)))
    with pytest.raises(ValueError, match=r"action_space.*finite bounds"):
        ContinuousPDMORL(unbounded, ContinuousConfig(), 0, 4, torch.device("cpu"))


class Pull(gymnasium.Env[Any, Any]):
    """Stay near both ends of [-1, 1] at once: the best place for weight w of the right end is 2 w - 1.

    Rewards are -(1 - place)^2 and -(1 + place)^2, the front is the parabola between (0, -4) and (-4, 0) per step.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-0.5, 0.5, (1,), np.float32)
        self.reward_space = spaces.Box(-4.0, 0.0, (2,), np.float64)
        self.place = 0.0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-1, 1))
        return np.array([self.place], dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.place = float(np.clip(self.place + np.asarray(action).item(), -1, 1))
        reward = np.array([-((1 - self.place) ** 2), -((1 + self.place) ** 2)])
        return np.array([self.place], dtype=np.float32), reward, False, False, {}


def test_it_goes_where_a_preference_wants_it(tmp_path: Path) -> None:
    morl.envs.register("toy-pull-v0", Pull, objectives=("right", "left"), reference_point=(-40.0, -40.0),
                       discount=0.9, max_episode_steps=20)  # fmt: skip
    config = {"hidden_sizes": (64, 64), "batch_size": 64, "random_exploration_steps": 500, "learning_starts": 300,
              "learning_rate": 1e-3, "key_update_steps": 2_000}  # fmt: skip
    # With the gradient of tanh alone, seed 2 went to the right for every preference, and stayed there for good.
    runs = morl.train_seeds("pd-morl", "toy-pull-v0", (1, 2, 9), total_steps=5_000, run_dir=tmp_path / "runs",
                            config=config, num_envs=10, evaluate_every=5_000, evaluation_divisions=20,
                            evaluation_episodes=1)  # fmt: skip
    envs = morl.make_vec("toy-pull-v0", 9)
    errors = np.zeros((len(runs), 4))
    for (row, run), (column, weight) in product(enumerate(runs), enumerate((0.1, 0.3, 0.5, 0.8))):
        policy = run.policy([weight, 1 - weight])
        observations, _ = envs.reset(seed=3)
        for _ in range(10):
            actions, _ = policy.predict(observations)
            observations, *_ = envs.step(actions)
        errors[row, column] = np.abs(observations[:, 0] - (2 * weight - 1)).max()
    assert errors.max() < 0.4, errors
    assert errors.mean(axis=1).max() < 0.2, errors  # collapsed: 1.15


@pytest.mark.parametrize(("env", "objectives"), [("building-9d-v0", 9), ("mo-hopper-v5", 3), ("mo-walker2d-v5", 2)])
def test_any_number_of_objectives_is_learnt(env: str, objectives: int, tmp_path: Path) -> None:
    config = toys.TINY_CONTINUOUS | {"key_update_steps": 10**6, "preference_divisions": 2}
    run = morl.train("pd-morl", env, total_steps=60, run_dir=tmp_path / "run", config=config, num_envs=3,
                     evaluation_divisions=1, evaluation_episodes=1)  # fmt: skip
    assert run.front.points.shape[1] == objectives
    assert np.isfinite(run.front.points).all()
    assert run.policy(np.ones(objectives)).predict(np.zeros(morl.make_vec(env, 1).single_observation_space.shape))


def test_each_environment_has_its_own_level_of_noise() -> None:
    agent = build(num_envs=4, random_exploration_steps=0, exploration_noise=0.4, exploration_noise_min=0.1)
    levels = agent.learners.env_levels()[:, None]
    expected = 0.4 - 0.3 * levels
    np.testing.assert_allclose(agent.noise_levels, expected)
    agent.episodes.start(morl.make_vec(WALK, 4), 0)
    policy = agent.td3.act(agent.episodes.states())[0].cpu().numpy()
    actions = agent._explore()
    np.testing.assert_allclose(actions, np.clip(policy + expected * agent.noise, -1.0, 1.0), rtol=1e-6)
    same = build(num_envs=4, exploration_noise=0.4)
    np.testing.assert_array_equal(same.noise_levels, np.full((4, 1), 0.4))
    none = build(num_envs=4, preset="massive", exploration_noise=0.0, batch_size=8, buffer_size=100)
    np.testing.assert_array_equal(none.noise_levels, np.zeros((4, 1)))


@pytest.mark.parametrize("reward_scale", ["median", "rms"])
def test_the_unit_of_values_is_that_of_usual_rewards(reward_scale: str) -> None:
    """The median of rewards that are not zero, so that a few large costs do not hide the rest; rms where it is less."""
    usual = torch.tensor([1.0, -1.0, 2.0, -2.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    many = torch.cat([usual, torch.tensor([-100.0])])
    sparse = torch.cat([torch.zeros(9), torch.tensor([50.0])])
    nothing = torch.zeros(10)
    rewards = torch.stack([many, sparse, nothing], dim=1)[None]
    found = reward_sizes(rewards, reward_scale)[0, 0]
    expected = {"rms": [31.644904, 15.811388, 1.0], "median": [2.0, 15.811388, 1.0]}[reward_scale]
    torch.testing.assert_close(found, torch.tensor(expected))
