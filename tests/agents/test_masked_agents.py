"""Action masks in every agent and solver: never a forbidden action, targets over allowed ones, refusals in a sentence.

The contract test (resuming, seeds, exported policies) runs over masked agents too.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from masked import MASKED, MaskedWalk

import morl
from morl.agents import check_agent, find_agent
from morl.agents.pd_morl.config import DiscreteConfig
from morl.agents.pd_morl.discrete import PDMORL
from morl.envs.backends.sb3 import ScalarizedVecEnv
from morl.envs.core.registry import problem
from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN, DQNSettings
from morl.learning.sac import SACSettings
from morl.learning.sampled_batches import Batch, linear_utility

pytestmark = pytest.mark.usefixtures("without_figures")

CPU = torch.device("cpu")
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", toys.TINY),
    "pd-morl, two critics": ("pd-morl", toys.TINY | {"critics": 2, "target_action": "utility"}),
    "c-morl": ("c-morl", toys.TINY_CMORL),
    "c-morl, cpo": ("c-morl", toys.TINY_CMORL | {"solver": "cpo"}),
    "c-morl, lagrangian": (
        "c-morl",
        toys.TINY_CMORL | {"solver": "lagrangian", "constraints": {"rest": ">= -9"}},
    ),
    "c-morl, reference code": ("c-morl", toys.TINY_CMORL | {"solver": "reference-code"}),
    "morl-d, dqn": ("morl-d", toys.TINY_MORLD_OFF_POLICY),
    "morl-d, tchebycheff": ("morl-d", toys.TINY_MORLD_OFF_POLICY | {"preset": "tchebycheff"}),
    "morl-d, gpi-ls": ("morl-d", toys.TINY_MORLD_CONDITIONED | {"preset": "gpi-ls"}),
    "morl-d, discrete sac": ("morl-d", toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac"}),
    "morl-d, ppo": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
    "morl-d, ppo, eager": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "backend": "eager"}),
    "gmorl": ("gmorl", toys.TINY_GMORL),
    "mogfn-pc": ("mogfn-pc", toys.TINY_MOGFN),
    "morl-d, eupg": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"preset": "eupg"}),
}


@pytest.mark.parametrize("name", AGENTS)
def test_forbidden_actions_are_never_taken(name: str, tmp_path: Path) -> None:
    """The environment raises where one is: in training, exploring and evaluating."""
    agent, config = AGENTS[name]
    run = morl.train(agent, MASKED, total_steps=300, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)
    policy = run.policy([0.5, 0.5])
    policy.save(tmp_path / "policy.pt")
    seen = np.zeros((4, 2), np.float32)
    for acting in (policy, morl.load_policy(tmp_path / "policy.pt")):
        for allowed in range(3):
            mask = np.arange(3) == allowed
            assert acting.predict(seen[0], action_masks=mask)[0] == allowed - 1
            assert (acting.predict(seen, action_masks=np.tile(mask, (4, 1)))[0] == allowed - 1).all()
            assert acting.predict(seen[0], action_masks=mask.tolist())[0] == allowed - 1
        with pytest.raises(ValueError, match=r"action_masks is None, but .* was trained with action masks"):
            acting.predict(seen[0])
        for wrong, message in (
            (np.ones(2), "must be an array of 3 zeros and ones"),
            (np.ones((4, 3)), "must be an array of 3 zeros and ones"),
            (np.array([1, 2, 0]), "must be an array of 3 zeros and ones"),
            (np.zeros(3), "must allow at least one action, got zeros only in row 0"),
        ):
            with pytest.raises(ValueError, match=f"action_masks {message}"):
                acting.predict(seen[0], action_masks=wrong)
        with pytest.raises(ValueError, match="must be an array of 4 x 3 zeros and ones"):
            acting.predict(seen, action_masks=np.ones(3))
    assert np.isfinite(morl.evaluate(policy, MASKED, episodes=3).discounted).all()
    assert np.isfinite(run.evaluate(episodes=1).discounted).all()


def test_seeds_that_train_together_keep_to_their_masks(tmp_path: Path) -> None:
    runs = morl.train_seeds(
        "pd-morl", MASKED, [0, 1], total_steps=200, run_dir=tmp_path / "runs", config=toys.TINY, **toys.SCHEDULE
    )
    assert [run.seed for run in runs] == [0, 1]


@pytest.mark.parametrize("at_reset", [True, False])
@pytest.mark.parametrize("agent", ["pd-morl", "c-morl", "morl-d", "gmorl"])
def test_masks_in_some_infos_only_are_refused(agent: str, at_reset: bool, tmp_path: Path) -> None:
    class Sometimes(MaskedWalk):
        def reset(self, **arguments: Any) -> Any:
            observation, info = super().reset(**arguments)
            return observation, info if at_reset else {}

        def step(self, action: Any) -> Any:
            self.mask[:] = 1
            *outcome, info = super().step(action)
            return *outcome, {} if at_reset else info

    tiny = AGENTS["morl-d, dqn" if agent == "morl-d" else agent][1]
    with pytest.raises(ValueError, match=r"info\['action_mask'\] at step 1 .* must be in every info or in none"):
        morl.train(agent, Sometimes, total_steps=200, run_dir=tmp_path / "run", config=tiny, **toys.SCHEDULE)


@pytest.mark.parametrize("name", ["pd-morl", "c-morl", "morl-d, discrete sac", "morl-d, eupg", "gmorl"])
def test_a_masked_run_resumes_exactly(name: str, tmp_path: Path) -> None:
    agent, config = AGENTS[name]
    schedule = toys.SCHEDULE | {"config": config}
    whole = morl.train(agent, MASKED, total_steps=200, run_dir=tmp_path / "whole", **schedule)
    morl.train(agent, MASKED, total_steps=100, run_dir=tmp_path / "part", **schedule)
    part = morl.resume(tmp_path / "part", total_steps=200)
    assert part.front.points.tobytes() == whole.front.points.tobytes()
    assert toys.difference(toys.states(tmp_path / "part", "agent"), toys.states(tmp_path / "whole", "agent")) == ""


@pytest.mark.parametrize("name", ["pd-morl", "morl-d, dqn"])
def test_a_checked_agent_is_given_masks(name: str) -> None:
    agent, config = AGENTS[name]
    check_agent(agent, MASKED, config)


def test_a_checked_agent_must_take_masks() -> None:
    with pytest.raises(
        ValueError, match="uses_action_masks must be True on toy-masked-walk-v0, which gives action masks"
    ):
        check_agent(FirstAction, MASKED)


class FirstAction(toys.Coins):
    """Takes the first action that is allowed, in training alone."""

    def learn(self, envs: Any, total_steps: int, evaluate: Any) -> Any:
        if not self.begun:
            self.allowed = envs.reset(seed=1)[1]["action_mask"]
            self.begun = True
        while self.steps < total_steps:
            self.random.integers(2)
            self.allowed = envs.step(self.first + self.allowed.argmax(axis=1))[-1]["action_mask"]
            self.steps += self.num_envs
            self.updates += 1
            yield


def test_agents_that_take_no_masks_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Pushed(toys.ContinuousWalk):
        def reset(self, **arguments: Any) -> Any:
            return super().reset(**arguments)[0], {"action_mask": np.ones(1)}

    cases: list[tuple[str, Any, dict[str, Any], str]] = [
        ("toys:Coins", MASKED, {}, "gives action masks, but toys:Coins takes none"),
        ("morl-d", MASKED, toys.TINY_MORLD | {"solver": "sb3:DQN"}, "solver is 'sb3:DQN', but .* cannot honour"),
        ("pd-morl", Pushed, toys.TINY_CONTINUOUS, "only the choices of a Discrete space can be masked"),
        ("c-morl", Pushed, toys.TINY_CMORL, "only the choices of a Discrete space can be masked"),
        ("morl-d", Pushed, toys.TINY_MORLD, "only the choices of a Discrete space can be masked"),
    ]
    for agent, env, config, message in cases:
        with pytest.raises(ValueError, match=message):
            morl.train(agent, env, total_steps=100, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)
        assert not (tmp_path / "run").exists()


# --- What is learned --------------------------------------------------------------------------------------------------

DISCOUNT = 0.9
BAIT = 5.0
"""What the untrained networks promise for the forbidden action, which is never taken and so never corrected."""
STATES = torch.eye(2)
"""State 0 leads to state 1. There action 0 pays (1, 2) and ends the episode, and action 1 is forbidden."""


def transitions(masked: bool) -> dict[str, Any]:
    """Return the two transitions of a chain of two states, of which one action of the second is forbidden."""
    columns: dict[str, Any] = {
        "observation": STATES.unsqueeze(0),
        "action": torch.zeros(1, 2, 1),
        "reward": torch.tensor([[[0.0, 0.0], [1.0, 2.0]]]),
        "next_observation": STATES[[1, 0]].unsqueeze(0),
        "terminated": torch.tensor([[[0.0], [1.0]]]),
        "noise": torch.zeros(1, 0, 2, 1),
    }
    if masked:
        allowed = torch.tensor([[True, True], [True, False]])
        columns |= {"mask": allowed.unsqueeze(0), "next_mask": allowed[[1, 0]].unsqueeze(0)}
    return columns


def set_bait(network: Any, parameters: torch.Tensor, state: int, action: int) -> None:
    """Let a network without hidden layers promise `BAIT` in every objective for an action of a state, else 0."""
    weights = torch.zeros(2, network.widths[-1])
    weights.view(2, 2, -1)[state, action] = BAIT
    parameters.data[:] = torch.cat([weights.flatten(), torch.zeros(network.widths[-1])])


@pytest.mark.parametrize("masked", [True, False])
def test_dqn_bootstraps_from_allowed_actions_only(masked: bool) -> None:
    settings = DQNSettings(hidden_sizes=(), discount=DISCOUNT, tau=1.0, learning_rate=0.02)
    dqn = DQN(2, 2, 2, settings, 1, torch.Generator().manual_seed(0), CPU)
    set_bait(dqn.network, dqn.parameters, 1, 1)
    dqn.target_parameters.copy_(dqn.parameters)
    batch = Batch(**transitions(masked), utility=linear_utility(torch.full((1, 2, 2), 0.5)))
    for _ in range(1_500):
        dqn.update(batch)
    values = dqn.values(dqn.parameters, STATES.unsqueeze(0))[0, 0, 0]  # Q(state 0, action 0)
    right = DISCOUNT * torch.tensor([1.0, 2.0])
    if masked:
        torch.testing.assert_close(values.detach(), right, atol=0.02, rtol=0.0)
    else:  # the example can tell
        assert (values > right + 1.0).all()


@pytest.mark.parametrize("target_action", ["paper", "aligned", "utility"])
@pytest.mark.parametrize("masked", [True, False])
def test_pd_morl_bootstraps_from_allowed_actions_only(masked: bool, target_action: Any) -> None:
    config = DiscreteConfig(hidden_sizes=(), target_action=target_action, oracle_keys=False)
    agent = PDMORL(problem("toy-slope-v0"), config, 0, 2, CPU)
    weights = torch.zeros(3, 2, 2)  # [observation and preference, action, objective]
    weights[0, 0] = torch.tensor([1.0, 2.0])
    weights[0, 1] = BAIT
    agent.target_parameters[:] = torch.cat([weights.flatten(), torch.zeros(4)])
    batch = {
        "next_observation": torch.ones(1, 1, 1),
        "preference": torch.full((1, 1, 2), 0.5),
        "reward": torch.zeros(1, 1, 2),
        "terminated": torch.zeros(1, 1, 1),
    }
    if masked:
        batch["next_mask"] = torch.tensor([[[True, False]]])
    expected = torch.tensor([1.0, 2.0]) if masked else torch.full((2,), BAIT)
    torch.testing.assert_close(agent.targets(batch)[0, 0], agent.discount * expected)


def slope_masks(places: torch.Tensor) -> torch.Tensor:
    """Return what the slope allows at places [..., 1]: not down at its foot, not up at its top."""
    return torch.cat([places > 0, places < 3], dim=-1)


@pytest.mark.filterwarnings("ignore:c-morl. total_steps is 48:RuntimeWarning")
def test_stored_masks_are_those_of_the_stored_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the slope the observation says what is allowed, also the last one of an episode that is truncated."""
    monkeypatch.setattr("morl.learning.normalization.RunningMeanStd.normalize", lambda self, rows: rows)
    stated = problem("toy-slope-v0")

    def learn(agent: str, **config: Any) -> Any:
        agent_class = find_agent(agent, stated.action_space)
        built = agent_class(stated, agent_class.config_class(**config), 0, 6, CPU)
        for _ in built.learn(morl.make_vec("toy-slope-v0", 6), 48, lambda preferences, *_: preferences):
            pass
        return built

    replay = learn("pd-morl", **toys.TINY | {"learning_starts": 1_000}).replay
    next_observations = replay.buffer.column("next_observation")
    assert not replay.buffer.column("terminated").any()
    assert torch.equal(replay.bytes.column("next_mask").bool(), slope_masks(next_observations))
    assert len(replay) == 48

    solver = learn("morl-d", **toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac", "learning_starts": 1_000}).solver
    for ring, size in enumerate(solver.replay.sizes.tolist()):
        rows = slice(ring * solver.replay.capacity, ring * solver.replay.capacity + size)
        columns = dict(
            zip(
                solver.replay.columns,
                solver.replay.rows[rows].split(list(solver.replay.columns.values()), 1),
                strict=True,
            )
        )
        mask, next_mask = solver.bytes.rows[rows].bool().split(2, dim=1)
        assert torch.equal(mask, slope_masks(columns["observation"]))
        assert torch.equal(next_mask, slope_masks(columns["next_observation"]))
        assert size == 16

    on_policy = learn(
        "morl-d", **toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "rollout_steps": 20, "exchange_every": 120}
    )
    rollouts = [
        on_policy.solver.population.rollout,
        learn("c-morl", **toys.TINY_CMORL | {"samples_per_update": 40, "initial_steps": 600}).stage.tasks.rollout,
    ]
    for rollout in rollouts:
        assert rollout.filled == 8
        stored = slope_masks(torch.from_numpy(rollout.observations[: rollout.filled]))
        assert torch.equal(torch.from_numpy(rollout.masks[: rollout.filled]), stored)


def discrete_sac(policies: int, actions: int = 2, **settings: Any) -> DiscreteSAC:
    common: dict[str, Any] = {"hidden_sizes": (), "discount": DISCOUNT, "tau": 1.0, "policy_delay": 1}
    chosen = SACSettings(**common | settings)
    return DiscreteSAC(2, actions, 2, chosen, policies, torch.Generator().manual_seed(0), CPU)


@pytest.mark.parametrize("masked", [True, False])
def test_discrete_sac_expects_over_allowed_actions_only(masked: bool) -> None:
    sac = discrete_sac(1, temperature=0.1, critic_learning_rate=0.02, actor_learning_rate=0.0)
    critic = torch.zeros(1, sac.critics.shape[1] // 2)
    set_bait(sac.critic, critic, 1, 1)
    sac.critics.data[:] = critic.repeat(1, 2)
    sac.target_critics[:] = sac.critics
    sac.actors.data.zero_()
    batch = Batch(**transitions(masked), utility=linear_utility(torch.full((1, 2, 2), 0.5)))
    for _ in range(1_500):
        metrics = sac.update(batch)
    values = sac.values(sac.critics, STATES.unsqueeze(0))[0, 0, 0, 0]
    if masked:  # one action is certain in state 1: no entropy there, and log 2 in state 0
        torch.testing.assert_close(values.detach(), DISCOUNT * torch.tensor([1.0, 2.0]), atol=0.02, rtol=0.0)
        torch.testing.assert_close(metrics["entropy"].item(), 0.5 * np.log(2.0), atol=1e-5, rtol=0.0)
    else:
        assert (values > DISCOUNT * torch.tensor([1.0, 2.0]) + 0.5).all()


def test_the_target_entropy_counts_allowed_actions() -> None:
    """Temperatures stay where they are if the policy has just the target's share of the entropy of allowed actions."""
    share = 0.5
    sac = discrete_sac(1, actions=4, target_entropy=share * float(np.log(4.0)), actor_learning_rate=0.0)
    sac.actors.data.zero_()  # uniform over allowed actions: H(s) = log m, above the target share x log m
    rows = transitions(masked=False)
    for allowed, aims_at in ((4, np.log(4.0)), (2, np.log(2.0)), (1, 0.0)):
        mask = (torch.arange(4) < allowed).expand(1, 2, 4)
        batch = Batch(**rows, mask=mask, next_mask=mask, utility=linear_utility(torch.full((1, 2, 2), 0.5)))
        steps: list[torch.Tensor] = []
        sac.temperature_optimizer.step = lambda excess, rate, steps=steps: steps.append(excess)  # type: ignore[method-assign]
        metrics = sac.update(batch)
        torch.testing.assert_close(metrics["entropy"].item(), float(aims_at), atol=1e-5, rtol=0.0)
        torch.testing.assert_close(steps[0].item(), float((1.0 - share) * aims_at), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("kind", ["dqn", "discrete-sac"])
def test_training_a_masked_population_equals_training_its_members(kind: str) -> None:
    random = torch.Generator().manual_seed(3)
    weights = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).unsqueeze(1).expand(-1, 8, -1)

    def build(policies: int) -> Any:
        if kind == "discrete-sac":
            return discrete_sac(policies, actions=3, precision="float64", target_entropy=0.5)
        settings = DQNSettings(hidden_sizes=(), discount=DISCOUNT, precision="float64")
        return DQN(2, 3, 2, settings, policies, torch.Generator().manual_seed(0), CPU)

    def masks() -> torch.Tensor:
        allowed = torch.rand(2, 8, 3, generator=random) < 0.5
        allowed[..., 0] |= ~allowed.any(dim=-1)
        return allowed

    sampled = [
        {
            "observation": torch.randn(2, 8, 2, generator=random, dtype=torch.float64),
            "action": torch.randint(3, (2, 8, 1), generator=random).double(),
            "reward": torch.randn(2, 8, 2, generator=random, dtype=torch.float64),
            "next_observation": torch.randn(2, 8, 2, generator=random, dtype=torch.float64),
            "terminated": torch.zeros(2, 8, 1, dtype=torch.float64),
            "noise": torch.zeros(2, 0, 8, 1),
            "mask": masks(),
            "next_mask": masks(),
        }
        for _ in range(6)
    ]
    start = {name: value.clone() for name, value in build(2).tensors().items()}

    def train(members: list[int]) -> dict[str, torch.Tensor]:
        population = build(len(members))
        for name, value in population.tensors().items():
            value.copy_(start[name][members])
        for columns in sampled:
            rows = {name: column[members] for name, column in columns.items()}
            population.update(Batch(**rows, utility=linear_utility(weights[members])))
        tensors: dict[str, torch.Tensor] = population.tensors()
        assert all(torch.isfinite(value).all() for value in tensors.values())
        return tensors

    together = train([0, 1])
    for member in range(2):
        for name, value in train([member]).items():
            torch.testing.assert_close(value[0], together[name][member], rtol=1e-9, atol=1e-9)


# --- Stable-Baselines3 ------------------------------------------------------------------------------------------------


def test_the_scalarized_environment_hands_masks_on() -> None:
    """sb3-contrib's MaskablePPO looks for the attribute `action_masks` and calls it as a method of each environment."""
    plain = ScalarizedVecEnv(morl.make_vec("toy-walk-v0", 2, seed=0), [0.5, 0.5])
    plain.reset()
    assert not plain.has_attr("action_masks")
    venv = ScalarizedVecEnv(morl.make_vec(MASKED, 2, seed=0), [0.5, 0.5])
    venv.reset()
    assert venv.has_attr("action_masks")
    for _ in range(40):
        masks = np.stack(venv.env_method("action_masks"))
        expected = np.stack([env.unwrapped.mask for env in venv.envs.unwrapped.envs])
        np.testing.assert_array_equal(masks, expected)
        venv.step(masks.argmax(axis=1))
    assert len(venv.env_method("action_masks", indices=[1])) == 1


def test_maskable_ppo_trains_where_it_is_installed(tmp_path: Path) -> None:
    config = toys.TINY_MORLD | {"solver": "sb3:MaskablePPO", "rollout_steps": 4, "batch_size": 10}
    settings = toys.SCHEDULE | {"run_dir": tmp_path / "run", "config": config, "total_steps": 200}
    try:
        import sb3_contrib  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="stable_baselines3 has no MaskablePPO and sb3_contrib is not installed"):
            morl.train("morl-d", MASKED, **settings)
        return
    policy = morl.train("morl-d", MASKED, **settings).policy([0.5, 0.5])
    for allowed in range(3):
        assert policy.predict(np.zeros(2, np.float32), action_masks=np.arange(3) == allowed)[0] == allowed - 1
    morl.train("morl-d", "toy-walk-v0", overwrite=True, **settings)  # and where there are no masks
