"""The learner axis of PD-MORL: each learner has its own streams, environments and rows."""

import numpy as np
import pytest
import torch
import toys  # noqa: F401  (registers the toy environments)

import morl
from morl.agents.pd_morl.episodes import EnvStep, Episodes, PreferenceAssignment
from morl.agents.pd_morl.hindsight import HindsightReplay, absolute_normal
from morl.agents.pd_morl.learners import Learners, rows
from morl.envs.core.registry import problem
from morl.preferences import simplex_lattice

CPU = torch.device("cpu")
WALK = "toy-walk-v0"


def test_streams_depend_on_the_own_seed_only() -> None:
    together = Learners((5, 6, 7), 4, CPU)
    uniform = together.uniform(2)
    normal = together.normal()
    assert (uniform.shape, normal.shape) == ((12, 2), (12,))
    for learner, seed in enumerate((5, 6, 7)):
        alone = Learners(seed, 4, CPU)
        np.testing.assert_array_equal(uniform[together.envs(learner)], alone.uniform(2))
        np.testing.assert_array_equal(normal[together.envs(learner)], alone.normal())
    assert len(np.unique(normal)) == 12


def test_a_stream_is_restored_where_it_was() -> None:
    learners = Learners((5, 6), 4, CPU)
    learners.uniform()
    saved = learners.state_dict(1)
    expected = learners.uniform()
    fresh = Learners((8, 9), 4, CPU)
    fresh.load_state_dict(saved, 1)
    np.testing.assert_array_equal(fresh.uniform()[4:], expected[4:])


def test_learners_reset_the_environments_that_each_would_have_alone() -> None:
    together, _ = Learners((5, 6), 4, CPU).reset(morl.make_vec(WALK, 8), "environments", 3)
    for learner, seed in enumerate((5, 6)):
        alone, _ = Learners(seed, 4, CPU).reset(morl.make_vec(WALK, 4), "environments", 3)
        np.testing.assert_array_equal(together[4 * learner : 4 * learner + 4], alone)


def test_split_and_rows() -> None:
    learners = Learners((5, 6), 3, CPU)
    split = learners.split(np.arange(12.0).reshape(6, 2))
    assert split.shape == (2, 3, 2)
    np.testing.assert_array_equal(split[1], [[6, 7], [8, 9], [10, 11]])
    assert rows(2, 3) == slice(6, 9)
    tensors = {"a": torch.arange(4.0), "b": torch.arange(8.0).view(4, 2)}
    saved = {name: tensor.clone() for name, tensor in learners.rows_of(1, tensors, 2).items()}
    np.testing.assert_array_equal(saved["a"].numpy(), [2, 3])
    target = {"a": torch.zeros(4)}
    learners.load_rows(1, target, saved, 2)  # "b" is missing there and is created
    np.testing.assert_array_equal(target["a"].numpy(), [0, 0, 2, 3])
    np.testing.assert_array_equal(target["b"].numpy(), [[0, 0], [0, 0], [4, 5], [6, 7]])


def test_preferences_of_a_learner_do_not_depend_on_the_episodes_of_another() -> None:
    grid = simplex_lattice(2, 20)
    calm, busy = (PreferenceAssignment(grid, Learners((5, 6), 3, CPU)) for _ in range(2))
    for assignment in (calm, busy):
        assignment.assign(np.ones(6, dtype=np.bool_))
    np.testing.assert_array_equal(calm.current, busy.current)
    busy.assign(np.array([True, False, True, False, False, False]))
    second_only = np.array([False, False, False, True, True, True])
    before = calm.current
    calm.assign(second_only)
    busy.assign(second_only)
    np.testing.assert_array_equal(calm.current[3:], busy.current[3:])
    np.testing.assert_array_equal(calm.current[:3], before[:3])  # no episode of the first has ended
    assert not np.array_equal(calm.current[3:], before[3:])


def test_more_environments_than_preferences() -> None:
    assignment = PreferenceAssignment(simplex_lattice(2, 2), Learners(5, 7, CPU))
    for _ in range(20):
        assignment.assign(np.ones(7, dtype=np.bool_))
        np.testing.assert_array_equal(assignment.current[:, 0], np.array([0, 1, 2, 0, 1, 2, 0]) / 2)


def step_of(count: int, ended: int) -> EnvStep:
    """The answer of `count` environments in which one episode hits its time limit."""
    truncated = np.zeros(count, dtype=np.bool_)
    truncated[ended] = True
    final = np.full(count, None, dtype=object)
    final[ended] = np.array([9.0, 1.0], dtype=np.float32)
    return EnvStep(
        observations=np.arange(2.0 * count, dtype=np.float32).reshape(count, 2),
        rewards=np.ones((count, 2)),
        terminated=np.zeros(count, dtype=np.bool_),
        truncated=truncated,
        infos={"final_obs": final},
    )


def test_transitions_hold_the_last_observation_of_an_episode() -> None:
    for time_limits, terminal in (("bootstrap", 0.0), ("end", 1.0)):
        learners = Learners((5, 6), 2, CPU)
        episodes = Episodes(problem(WALK), learners, simplex_lattice(2, 20), time_limits)  # type: ignore[arg-type]
        episodes.start(morl.make_vec(WALK, 4), 0)
        before, preferences = episodes.observations, episodes.preferences.current
        step = step_of(4, ended=2)
        transitions = episodes.advance(np.zeros((4, 1)), step)
        np.testing.assert_array_equal(transitions.observation, before)
        np.testing.assert_array_equal(transitions.preference, preferences)
        np.testing.assert_array_equal(transitions.next_observation[2], [9.0, 1.0])
        np.testing.assert_array_equal(transitions.next_observation[[0, 1, 3]], step.observations[[0, 1, 3]])
        np.testing.assert_array_equal(transitions.terminated[:, 0], [0, 0, terminal, 0])
        assert episodes.observations is not None
        np.testing.assert_array_equal(episodes.observations, step.observations)  # the first of the next episode


def test_a_step_of_some_environments() -> None:
    step = step_of(4, ended=2)
    some = step.select(np.array([1, 2]))
    np.testing.assert_array_equal(some.observations, step.observations[1:3])
    np.testing.assert_array_equal(some.ended, [False, True])
    np.testing.assert_array_equal(some.infos["final_obs"][1], [9.0, 1.0])
    quiet = EnvStep(step.observations, step.rewards, step.terminated, step.terminated, {})
    assert quiet.select(np.array([0])).infos == {}


def test_batches_of_a_learner_are_what_it_draws_alone() -> None:
    def filled(seeds: int | tuple[int, ...]) -> HindsightReplay:
        learners = Learners(seeds, 2, CPU)
        replay = HindsightReplay(learners, 50, 2, 1, 2, absolute_normal)
        columns = replay.buffer.columns
        values = torch.randn(1, 40, sum(columns.values()), generator=torch.Generator().manual_seed(0))
        parts = torch.split(values.expand(len(learners), -1, -1), list(columns.values()), dim=2)
        replay.buffer.add(**dict(zip(columns, parts, strict=True)))
        return replay

    for share in (0.0, 0.75):
        together = filled((5, 6, 7)).draw(3, 8, share)
        assert len(together) == 3
        for learner, seed in enumerate((5, 6, 7)):
            alone = filled(seed).draw(3, 8, share)
            for name in ("index", "preferences", "noise"):
                assert torch.equal(getattr(together, name)[learner], getattr(alone, name)[0]), name


@pytest.mark.parametrize("share", [0.0, 0.75])
def test_a_transition_is_learned_from_for_several_preferences_at_once(share: float) -> None:
    learners = Learners((5, 6), 2, CPU)
    replay = HindsightReplay(learners, 50, 2, 1, 2, absolute_normal)
    columns = replay.buffer.columns
    numbered = {name: torch.arange(40.0).view(1, 40, 1).expand(2, 40, width) for name, width in columns.items()}
    replay.buffer.add(**numbered)
    batches = replay.draw(3, 12, share, preferences_per_transition=4)
    assert batches.index.shape == (2, 3, 12)
    assert batches.noise.shape == (2, 3, 12, 1)
    groups = batches.index.view(2, 3, 3, 4)
    assert (groups == groups[..., :1]).all()
    kept = (batches.preferences == batches.index.unsqueeze(3)).all(dim=3)
    assert bool(kept.all()) == (share == 0.0)
    redrawn = batches.preferences[~kept]
    torch.testing.assert_close(redrawn.sum(dim=1), torch.ones(len(redrawn)))


def test_environments_next_to_each_other_explore_differently() -> None:
    levels = Learners((5, 6), 64, CPU).env_levels()
    np.testing.assert_array_equal(levels[:64], levels[64:])
    assert levels.min() >= 0.0
    assert levels.max() < 1.0
    np.testing.assert_allclose(np.sort(levels[:64]), np.arange(64) / 64, atol=0.03)  # evenly spread
    for start in range(0, 64, 8):  # a part of the simplex has low levels and high ones
        part = levels[start : start + 8]
        assert part.min() < 0.2
        assert part.max() > 0.8
