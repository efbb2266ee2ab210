"""GMORL: preferences, relabeling, weights that servers share, masks, and what its settings refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from masked import MASKED

import morl
from morl.agents import check_agent, find_agent
from morl.agents.gmorl.agent import GMORL
from morl.agents.gmorl.config import Config
from morl.envs import make_vec, problem
from morl.policy_files import PolicySpec

pytestmark = pytest.mark.usefixtures("without_figures")

CPU = torch.device("cpu")
MEC = "mec-offloading-v0"
WALK = "toy-walk-v0"
TINY = toys.TINY_GMORL


def agent_on(env: str, num_envs: int = 4, **changes: Any) -> GMORL:
    return GMORL(problem(env), Config(**TINY | changes), 3, num_envs, CPU)


def train(agent: GMORL, env: str, steps: int, **options: Any) -> None:
    for _ in agent.learn(make_vec(env, agent.num_envs, **options), steps, None):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("env", [MEC, "server-queues-v0", "deep-sea-treasure-v0"])
def test_it_keeps_the_contract(env: str) -> None:
    check_agent("gmorl", env, config=TINY, total_steps=120)


def new_preferences(agent: GMORL, updates: int) -> torch.Tensor:
    """Return what travels with a step's transitions for its updates [1, update, batch, objective]."""
    size = agent.config.batch_size
    drawn = agent._draw_preferences(updates * size).astype(np.float32)
    return torch.from_numpy(drawn).view(1, updates, size, agent.num_objectives)


def test_even_preferences_stay_with_their_environments() -> None:
    agent = agent_on(WALK, num_envs=5, preferences="even", relabeled_share=0.0)
    expected = [[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]
    np.testing.assert_allclose(agent.preferences, expected)
    train(agent, WALK, 100)
    np.testing.assert_allclose(agent.preferences, expected)
    stored = agent.replay.column("preference")[0].numpy()
    np.testing.assert_allclose(stored, np.tile(expected, (20, 1)), atol=1e-7)


def test_preferences_are_drawn_when_an_episode_starts() -> None:
    agent = agent_on(WALK, preferences="dirichlet")
    before = agent.preferences
    agent._assign_preferences(np.array([True, False, True, False]))
    changed = (agent.preferences != before).any(axis=1)
    np.testing.assert_array_equal(changed, [True, False, True, False])
    np.testing.assert_allclose(agent.preferences.sum(axis=1), 1.0)


def test_a_transition_is_stored_with_the_preference_that_it_was_collected_for() -> None:
    """Also in the step that ends an episode, after which another preference is drawn."""
    agent = agent_on(MEC, random_exploration_steps=10_000)
    loop = agent.learn(make_vec(MEC, 4, seed=0, max_episode_steps=3), 40, None)  # type: ignore[arg-type]
    acted = [agent.preferences.copy() for _ in loop]  # those of the next step
    stored = agent.replay.column("preference")[0].numpy().reshape(10, 4, 2)
    np.testing.assert_allclose(stored[1:], acted[:-1], atol=1e-6)
    assert len(np.unique(stored[:, 0, 0])) == 4


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_a_batch_is_relabeled(share: float) -> None:
    agent = agent_on(WALK, num_envs=2, relabeled_share=share, batch_size=400, buffer_size=400)
    train(agent, WALK, 60)
    batches = agent._sample(new_preferences(agent, 5))
    assert batches.weight is not None
    assert batches.condition is batches.weight
    own = agent.replay.column("preference")[0][batches.index]
    changed = (batches.weight != own).any(dim=-1).float().mean().item()
    assert changed == pytest.approx(share, abs=0.05)


def test_one_network_serves_other_numbers_of_servers() -> None:
    """Trained where observations have room for three edge servers, the same parameters act where they have for ten."""
    small = agent_on(MEC, sharing="rows")
    options = {"edges": (1, 3), "max_edges": 3}
    stated = problem(MEC, **options)
    small = GMORL(stated, Config(**TINY), 3, 4, CPU)
    train(small, MEC, 160, **options)
    wide = GMORL(problem(MEC, edges=(1, 3), max_edges=10), Config(**TINY), 3, 4, CPU)
    parameters = small.sac.tensors()["actor"]
    assert wide.sac.tensors()["actor"].shape == parameters.shape
    wide.sac.tensors()["actor"].copy_(parameters)
    wide.banked_update = -1
    narrow_envs = make_vec(MEC, 8, seed=5, **options)
    narrow, infos = narrow_envs.reset(seed=5)
    rows = np.full((8, 11, narrow.shape[2]), -1.0, dtype=np.float32)
    rows[:, :4] = narrow
    masks = np.zeros((8, 11), dtype=np.bool_)
    masks[:, :4] = infos["action_mask"] == 1
    preferences = np.tile([[0.5, 0.5]], (8, 1))
    ids = np.zeros(8, dtype=np.int64)
    np.testing.assert_array_equal(
        wide.act(rows, preferences, ids, masks=masks), small.act(narrow, preferences, ids, masks=masks[:, :4])
    )


def test_the_order_of_edge_servers_does_not_matter() -> None:
    agent = agent_on(MEC)
    train(agent, MEC, 160)
    observations, infos = make_vec(MEC, 6, seed=9).reset(seed=9)
    masks = infos["action_mask"] == 1
    preferences = np.tile([[0.7, 0.3]], (6, 1))
    ids = np.zeros(6, dtype=np.int64)
    order = np.array([0, 4, 6, 1, 5, 2, 3])
    actions = agent.act(observations, preferences, ids, masks=masks)
    permuted = agent.act(observations[:, order], preferences, ids, masks=masks)
    np.testing.assert_array_equal(order[permuted], actions)


def test_plain_networks_where_nothing_is_shared() -> None:
    shared = agent_on(MEC)
    plain = agent_on(MEC, sharing="none")
    assert shared.bank.spec.shared_rows
    assert not plain.bank.spec.shared_rows
    assert plain.sac.actor.num_parameters > 3 * shared.sac.actor.num_parameters
    assert not agent_on(WALK).bank.spec.shared_rows
    with pytest.raises(ValueError, match="sharing is 'rows', but must be 'auto' or 'none' on toy-walk-v0"):
        agent_on(WALK, sharing="rows")


def test_the_paper_s_discount_where_evaluation_has_none() -> None:
    assert agent_on(MEC).sac.settings.discount == 0.95
    assert agent_on("deep-sea-treasure-v0").sac.settings.discount == problem("deep-sea-treasure-v0").discount
    assert agent_on(MEC, discount=0.5).sac.settings.discount == 0.5


def test_the_step_size_halves() -> None:
    agent = agent_on(WALK, learning_rate=1e-2, learning_rate_half_life=10.0, updates_per_step=0.5)
    train(agent, WALK, 40)
    agent.sac.updates = 10
    agent._decay_learning_rate()
    assert agent.sac.settings.actor_learning_rate == agent.sac.settings.critic_learning_rate == 5e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sharing": "servers"}, "sharing is 'servers', but must be one of auto, rows, none"),
        ({"preferences": "odd"}, "preferences is 'odd', but must be one of dirichlet, even"),
        ({"preferences": "even", "concentration": 0.5}, "concentration is 0.5, but has no effect"),
        ({"sharing": "rows", "network": "networks:small"}, "sharing is 'rows', but must be 'auto' or 'none'"),
        ({"temperature": -0.1}, "temperature is -0.1, but must be finite and not negative"),
        ({"relabeled_share": 1.5}, "relabeled_share is 1.5, but must lie between 0 and 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be finite and greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"hidden_sizes": (8, 0)}, "every size must be greater than 0"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**changes)


def test_published_settings_are_values() -> None:
    paper = Config.paper()
    assert (paper.batch_size, paper.temperature, paper.preferences, paper.discount) == (4096, 0.05, "even", 0.95)
    with pytest.raises(ValueError, match="preset is 'authors', but must be one of paper"):
        Config.preset("authors")


def test_the_replay_holds_a_step_of_all_environments() -> None:
    with pytest.raises(ValueError, match="buffer_size is 3, but must be at least num_envs, 4"):
        agent_on(WALK, buffer_size=3, batch_size=2)


def test_continuous_actions_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gmorl needs actions of kind Discrete"):
        morl.train("gmorl", "water-reservoir-v0", total_steps=100, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="must be Discrete"):
        agent_on("water-reservoir-v0")


def test_a_run_and_its_policy_files_on_edge_offloading(tmp_path: Path) -> None:
    """A file acts without agent and environment, also under another preference, and only on allowed servers."""
    options = {"edges": "1-3", "max_edges": 4}
    schedule = toys.SCHEDULE | {"env_options": options, "config": TINY}
    run = morl.train("gmorl", MEC, total_steps=300, run_dir=tmp_path / "run", **schedule)
    policy = run.policy([0.5, 0.5], conditioned=True)
    policy.save(tmp_path / "policy.pt")
    loaded = morl.load_policy(tmp_path / "policy.pt")
    assert loaded.data.spec.shared_rows
    observations, infos = make_vec(MEC, 8, seed=1, **options).reset(seed=1)
    masks = infos["action_mask"]
    for preference in ([1.0, 0.0], [0.2, 0.8]):
        mine = policy.conditioned_on(preference).predict(observations, action_masks=masks)[0]
        np.testing.assert_array_equal(
            loaded.conditioned_on(preference).predict(observations, action_masks=masks)[0], mine
        )
        assert (masks[np.arange(8), mine] == 1).all()


def test_a_file_that_claims_rows_where_there_are_none_is_refused() -> None:
    record = agent_on(WALK).bank.spec.record()
    with pytest.raises(ValueError, match="shared_rows is True, which no policy has"):
        PolicySpec.of_record(record | {"shared_rows": True})


def test_learning_finds_the_front_of_a_small_problem(tmp_path: Path) -> None:
    """Three of the fork's four leaves are non-dominated; the network reaches the two ends and the knee."""
    run = morl.train(
        "gmorl",
        toys.Fork,
        total_steps=4_000,
        seed=1,
        run_dir=tmp_path / "run",
        num_envs=16,
        evaluate_every=2_000,
        evaluation_divisions=10,
        evaluation_episodes=1,
        device="cpu",
        config={
            "hidden_sizes": (32,),
            "batch_size": 64,
            "learning_rate": 3e-3,
            "updates_per_step": 0.25,
            "random_exploration_steps": 400,
            "discount": 0.95,
            "tau": 0.02,
        },
    )
    np.testing.assert_allclose(np.unique(run.front.points, axis=0), toys.fork_front(0.99))


def test_masks_of_three_actions(tmp_path: Path) -> None:
    agent = agent_on(MASKED)
    train(agent, MASKED, 200)
    assert agent.bytes is not None
    assert list(agent.bytes.columns) == ["mask", "next_mask"]
    (batch,) = agent._sample(new_preferences(agent, 1))
    assert batch.mask is not None
    probabilities, _ = agent.sac.policy(batch.observation, batch.mask)
    assert (probabilities[~batch.mask] == 0.0).all()
    taken = batch.mask.gather(2, batch.action.long())
    assert taken.all(), "an action was taken that its mask forbids"


def test_the_registry_knows_it() -> None:
    assert find_agent("gmorl", problem(WALK).action_space) is GMORL
