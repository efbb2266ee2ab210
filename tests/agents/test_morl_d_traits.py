"""Every trait of MORL/D is a switch: the parts by themselves, and what each switch changes in a run."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from decomposed import CONTINUOUS, WALK, answer, build, learn

import morl
from morl.agents.morl_d import adaptation, cooperation, selection
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.return_bounds import ReturnBounds
from morl.learning.scalarization import AugmentedState, bind_utility, scaled_utility
from morl.pareto import non_dominated
from morl.utilities import find_utility


def user_utility(returns: Any, preferences: Any, ideal: Any) -> Any:
    return (preferences * returns).sum(-1) ** 3


# --- Presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", Config.PRESETS)
def test_a_preset_is_a_value_that_differs_from_the_defaults_in_its_fields(preset: str) -> None:
    differing = {
        field.name: getattr(Config.preset(preset), field.name)
        for field in fields(Config)
        if getattr(Config.preset(preset), field.name) != getattr(Config(), field.name)
    }
    assert differing == Config.PRESETS[preset]
    assert Config.preset(preset, archive="bounded").archive == "bounded"


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="preset is 'morl-d', but must be one of vanilla, sb, psa"):
        Config.preset("morl-d")


@pytest.mark.parametrize("preset", Config.PRESETS)
def test_every_preset_learns(preset: str) -> None:
    on_policy = Config.preset(preset).solver in ("ppo", "eupg")
    agent = learn(build(preset=preset, **({"rollout_steps": 8} if on_policy else {})))
    assert agent.exchanges >= 1
    assert agent.updates > 0
    assert len(agent.archive) == 3 or agent.config.archive == "convex"


# --- Utilities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["linear", "tchebycheff", "augmented-tchebycheff", "smooth-tchebycheff", "pbi", f"{__name__}:user_utility"]
)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_utility_is_the_same_for_arrays_and_batches_of_tensors(name: str, scaled: bool, monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "user_utility", user_utility, raising=False)
    utility = scaled_utility(find_utility(name), scaled)
    random = np.random.default_rng(0)
    values, weights = random.normal(size=(2, 5, 4, 3)), random.dirichlet(np.ones(3), 2)
    limits = np.stack([np.full((2, 3), -4.0), np.full((2, 3), 4.0)], axis=1)
    plain = AugmentedState(7, np.ones(3), enabled=False)
    bound = bind_utility(utility, plain, torch.as_tensor(weights[:, None]), torch.as_tensor(limits))
    found = bound(torch.as_tensor(values), torch.zeros(2, 5, 7))
    for policy in range(2):
        expected = utility(values[policy], weights[policy], limits[policy, 0], limits[policy, 1])
        np.testing.assert_allclose(found[policy], expected, rtol=1e-12)
    one = bound(torch.as_tensor(values[:, :, 1]), torch.zeros(2, 5, 7))
    np.testing.assert_allclose(one, found[:, :, 1])


def test_an_unknown_utility_is_refused() -> None:
    for name in ("chebyshev", "numpy:nothing", "math:pi", "nowhere:x"):
        with pytest.raises(ValueError, match="utility is"):
            find_utility(name)


def test_the_ideal_point_runs_with_what_is_seen_or_stays() -> None:
    values = np.array([[1.0, 5.0], [3.0, 2.0]])
    running, static = ReturnBounds(2, None, 0.5, None), ReturnBounds(2, np.array([9.0, 9.0]), 0.5, np.zeros(2))
    for bounds in (running, static):
        bounds.update(values, values)
        bounds.update(values - 1.0, values)
    np.testing.assert_allclose(running.as_array(), [[1.0, 2.0], [4.0, 6.5]])
    np.testing.assert_allclose(static.as_array(), [[0.0, 0.0], [9.0, 9.0]])


def test_returns_of_training_episodes_move_the_ideal_at_the_next_update() -> None:
    bounds = ReturnBounds(2, None, 0.0, None)
    bounds.update(np.array([[1.0, 5.0]]), np.array([[1.0, 5.0]]))
    bounds.observe(np.array([[9.0, -3.0], [0.0, 4.0]]))
    bounds.observe(np.zeros((0, 2)))  # no episode ended
    np.testing.assert_allclose(bounds.as_array()[1], [1.0, 5.0])  # what policies learn from stands still until then
    bounds.update(np.array([[2.0, 4.0]]), np.array([[1.0, 5.0], [2.0, 4.0]]))
    np.testing.assert_allclose(bounds.as_array(), [[1.0, 4.0], [9.0, 5.0]])


def test_an_agent_remembers_the_best_returns_of_its_own_episodes() -> None:
    agent, envs = build(random_exploration_steps=0), morl.make_vec(WALK, 6)
    step, totals = agent.collector.step, []

    def recording(*arguments: Any) -> Any:
        found = step(*arguments)
        totals.extend(found["total"][found["ended"][:, 0]])
        return found

    agent.collector.step = recording  # type: ignore[method-assign]
    learning = agent.learn(envs, 600, evaluate=lambda weights, episodes, policies: np.full((len(policies), 2), -1e6))
    for _ in range(50):
        next(learning)
    np.testing.assert_array_equal(agent.bounds.best, np.max(totals, axis=0))


def test_accrued_rewards_are_part_of_the_return_that_is_judged() -> None:
    augmented = AugmentedState(3, np.array([2.0, 10.0]), enabled=True)
    rows = augmented.augment(np.zeros((1, 3)), np.array([[4.0, -5.0, 0.81]]))
    np.testing.assert_allclose(rows, [[0.0, 0.0, 0.0, 2.0, -0.5, 0.81]])
    observations = torch.as_tensor(rows.astype(np.float64))[None]
    total = augmented.episode_return(torch.tensor([[[1.0, 1.0]]], dtype=torch.float64), observations)
    np.testing.assert_allclose(total, [[[4.81, -4.19]]], rtol=1e-6)


def test_policies_see_what_their_episode_has_paid() -> None:
    agent, envs = build(augmented_state=True, random_exploration_steps=0), morl.make_vec(WALK, 6)
    total, factor = np.zeros((6, 2)), np.ones(6)
    step, rewards = envs.step, []

    def recording(actions: Any) -> Any:
        result = step(actions)
        rewards.append((result[1].copy(), result[2] | result[3]))
        return result

    envs.step = recording  # type: ignore[method-assign]
    units = agent.collector.augmented_state.units
    for _ in agent.learn(envs, 120, answer):
        reward, ended = rewards[-1]
        total += factor[:, None] * reward
        factor *= 0.99
        total[ended], factor[ended] = 0.0, 1.0
        assert agent.collector.observations is not None
        np.testing.assert_allclose(agent.collector.observations[:, 2:4] * units, total, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(agent.collector.observations[:, 4], factor, rtol=1e-6)


# --- Weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["riesz", "lattice", "dirichlet", "corners"])
def test_first_weights_lie_on_the_simplex(kind: str) -> None:
    weights = adaptation.first_weights(kind, 3, 6, seed=1)
    assert weights.shape == (6, 3)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    if kind == "corners":
        np.testing.assert_array_equal(weights, np.vstack([np.eye(3), np.eye(3)]))


def test_a_lattice_has_its_own_sizes() -> None:
    with pytest.raises(ValueError, match="population is 7, but a lattice of 3 weights has 6 or 10 points"):
        adaptation.first_weights("lattice", 3, 7, seed=0)


def test_psa_pushes_away_from_the_nearest_member_of_the_archive() -> None:
    front = np.array([[0.0, 10.0], [6.0, 7.0], [10.0, 0.0]])
    weights = np.array([[0.5, 0.5], [0.0, 1.0]])
    adapted = adaptation.psa(weights, np.array([[5.0, 8.0], [0.0, 10.0]]), front, factor=0.1)
    expected = np.array([0.5 / 1.1, 0.5 * 1.1])  # worse than (6, 7) in the first objective, better in the second
    np.testing.assert_allclose(adapted[0], expected / expected.sum())
    np.testing.assert_allclose(adapted[1], [0.0, 1.0])  # a corner stays one
    np.testing.assert_allclose(adaptation.psa(weights, front[:2], front[:1], 0.1)[0], weights[0])  # nobody else


def test_psa_does_not_depend_on_units() -> None:
    random = np.random.default_rng(2)
    front = random.normal(size=(9, 3))
    values = random.normal(size=(4, 3))
    weights = random.dirichlet(np.ones(3), 4)
    units = np.array([1.0, 1e3, 1e-3])
    here, there = (adaptation.psa(weights, values * unit, front * unit, 0.1) for unit in (np.ones(3), units))
    np.testing.assert_allclose(here, there)


def test_corner_weights_go_to_where_the_best_policy_changes() -> None:
    front = np.array([[0.0, 2.0], [1.5, 1.5], [2.0, 0.0]])
    found = adaptation.next_corners(front, np.eye(2), 5)
    np.testing.assert_allclose(np.sort(found[:, 0]), [0.25, 0.75])
    assert len(adaptation.next_corners(front, np.vstack([np.eye(2), found]), 5)) == 0


@pytest.mark.parametrize(("kind", "changes"), [("none", False), ("psa", True), ("corner-weights", True)])
def test_adaptation_is_a_switch(kind: Any, changes: bool) -> None:
    agent = build(adaptation=kind, weights="riesz")
    before = agent.weights.copy()
    learn(agent)
    assert np.array_equal(before, agent.weights) != changes
    np.testing.assert_allclose(agent.weights.sum(axis=1), 1.0)


# --- Neighbourhoods and cooperation -----------------------------------------------------------------------------------


def test_neighbourhoods() -> None:
    places = np.array([[0.0], [1.0], [1.5], [9.0]])
    assert cooperation.find_neighbours("none", places, 2).tolist() == [[0], [1], [2], [3]]
    assert cooperation.find_neighbours("nearest", places, 1).tolist() == [[0, 1], [1, 2], [2, 1], [3, 2]]
    assert cooperation.find_neighbours("all", places, 1).shape == (4, 4)


@pytest.mark.parametrize(
    ("update", "space", "changes"), [("static", "objectives", False), ("dynamic", "objectives", True)]
)
def test_neighbours_are_found_again_in_objective_space(update: Any, space: Any, changes: bool) -> None:
    asked = []

    def moving(preferences: Any, episodes: int, policies: Any = None) -> Any:
        asked.append(None)  # the first evaluation is as the weights say, the next ones are not
        return answer(preferences, episodes, np.array([0, 1, 2] if len(asked) == 1 else [0, 2, 1])[policies])

    near = {"neighbourhood": "nearest", "neighbourhood_update": update, "neighbourhood_space": space}
    agent = build(replay="neighbours", weights="lattice", **near)
    found = [agent.neighbours.copy() for _ in agent.learn(morl.make_vec(WALK, 6), 130, moving)]
    assert np.array_equal(found[0], found[-1]) != changes


def test_who_continues_from_whom() -> None:
    neighbours = np.array([[0, 1], [1, 2], [2, 1], [3, 2]])
    assert cooperation.successors(np.array([1]), neighbours, np.array([True] * 4)).tolist() == [0, 1, 1, 3]
    assert cooperation.successors(np.array([1]), neighbours, np.array([True, True, False, True])).tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert cooperation.successors(np.array([1, 2]), neighbours, np.array([True] * 4)).tolist() == [0, 1, 2, 3]
    utilities = np.array([[1.0, 5.0, 9.0, 0.0], [0.0, 2.0, 2.0, 9.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 4.0, 5.0]])
    assert cooperation.replacements(utilities, neighbours).tolist() == [1, 1, 1, 3]


TRANSFERS = [("none", 1), ("first-sweep", 1), ("always", 1), ("soft", 1), ("best", None)]


@pytest.mark.parametrize(("transfer", "selected"), TRANSFERS)
def test_transfer_is_a_switch(transfer: Any, selected: Any) -> None:
    settings: dict[str, Any] = {"neighbourhood": "all", "selected": selected, "offline_updates": 0}
    settings |= {"none": {"neighbourhood": "none"}, "soft": {"soft_rate": 0.25}}.get(transfer, {})
    agent = build(CONTINUOUS, transfer=transfer, **settings)
    apart, actors = agent.solver.members["actor"].clone(), []
    exchange = agent._cooperate

    def watched() -> None:
        before = agent.solver.members["actor"].clone()
        exchange()
        actors.append((before, agent.solver.members["actor"].clone()))

    agent._cooperate = watched  # type: ignore[method-assign]
    learn(agent, CONTINUOUS)
    assert not torch.equal(apart[0], apart[1])
    before, after = actors[0]  # policy 0 has trained, or all have
    match transfer:
        case "none":
            assert torch.equal(before, after)
        case "first-sweep" | "always":
            assert all(torch.equal(row, before[0]) for row in after)
            later, latest = actors[1]  # now policy 1 has trained
            assert torch.equal(latest[2], later[1])
            assert torch.equal(latest[0], later[0]) == (transfer == "first-sweep")
        case "soft":
            torch.testing.assert_close(after[1], 0.75 * before[1] + 0.25 * before[0])
        case "best":
            utilities = agent.weights @ np.stack([answer(None, 1, np.array([i]))[0] for i in range(3)]).T
            for policy, best in enumerate(utilities.argmax(axis=1)):
                assert torch.equal(after[policy], before[best])


def test_shared_layers_stay_one_and_the_others_do_not() -> None:
    agent = learn(build(CONTINUOUS, networks="shared-layers", hidden_sizes=(8, 8)), CONTINUOUS)
    agent.solver.store()
    actor = agent.solver.members["actor"]
    first = (2 + 1) * 8
    assert torch.equal(actor[0, :first], actor[1, :first])
    assert torch.equal(actor[0, :first], actor[2, :first])
    assert not torch.equal(actor[0, first:], actor[1, first:])
    fresh = build(CONTINUOUS, networks="shared-layers", hidden_sizes=(8, 8)).solver.members["actor"]
    assert not torch.equal(actor[0, :first], fresh[0, :first])


@pytest.mark.parametrize("env", [WALK, CONTINUOUS])
def test_a_conditioned_network_is_one_for_all_and_acts_by_the_weights(env: str) -> None:
    agent = learn(build(env, networks="conditioned"), env, steps=400)
    assert len(agent.solver.members["actor"]) == 1
    observations = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    actions = [agent.act(observations, np.zeros((30, 2)), np.full(30, policy)) for policy in range(3)]
    assert not np.array_equal(actions[0], actions[1]) or not np.array_equal(actions[0], actions[2])


@pytest.mark.parametrize(("replay", "rings"), [("own", [[1]]), ("neighbours", [[1, 0]]), ("shared", [[0, 1, 2]])])
def test_replay_is_shared_by_whom_it_says(replay: Any, rings: Any) -> None:
    near = {"neighbourhood": "nearest"} if replay == "neighbours" else {}
    agent = build(CONTINUOUS, replay=replay, weights="lattice", buffer_size=300, **near)
    assert sorted(agent._replay_sources(np.array([1]))[0].tolist()) == sorted(rings[0])
    learn(agent, CONTINUOUS)
    sizes = agent.solver.replay.sizes
    assert sizes.sum() == agent.steps  # nothing is stored twice
    assert agent.solver.replay.capacity == (100 if replay == "shared" else 300)


# --- Selection, archive, criterion ------------------------------------------------------------------------------------


def test_round_robin_takes_turns() -> None:
    turns = [selection.round_robin(5, 2, turn).tolist() for turn in range(5)]
    assert turns == [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4]]


def test_a_tournament_prefers_rank_then_room() -> None:
    values = np.array([[0.0, 10.0], [1.0, 9.9], [10.0, 0.0], [0.5, 0.5]])
    wins = np.zeros(4)
    for seed in range(200):
        wins[selection.tournament(values, 1, np.random.default_rng(seed))] += 1
    assert wins[3] == 0  # dominated: loses to all
    assert wins[0] > wins[1] > 0
    assert sorted(selection.tournament(values, 4, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3]


def test_the_most_promising_is_the_one_whose_gain_adds_most() -> None:
    values = np.array([[0.0, 10.0], [5.0, 5.0], [10.0, 0.0]])
    gains = np.array([[0.0, 0.0], [2.0, 2.0], [0.1, 0.0]])
    assert selection.most_promising(values, gains, values, 1).tolist() == [1]
    assert sorted(selection.most_promising(values, gains * np.nan, values, 3).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["round-robin", "random", "tournament", "most-promising"])
def test_selection_is_a_switch(kind: Any) -> None:
    agent = build(selection=kind, selected=1)
    chosen = [agent.active.tolist() for _ in agent.learn(morl.make_vec(WALK, 6), 400, answer)]
    assert all(len(active) == 1 for active in chosen)
    if kind == "round-robin":  # an exchange every ten steps of six lanes
        assert [chosen[place] for place in (0, 9, 10, 20, 30)] == [[0], [0], [1], [2], [0]]
    assert len({active[0] for active in chosen}) > 1 or kind == "most-promising"


@pytest.mark.parametrize("kind", ["pareto", "bounded", "convex"])
def test_the_archive_keeps_what_it_says(kind: Any) -> None:
    agent = build(archive=kind, **({"archive_capacity": 2} if kind == "bounded" else {}))

    def concave(preferences: Any, episodes: int, policies: Any = None) -> Any:
        return np.array([[0.0, 10.0], [3.0, 3.0], [10.0, 0.0]])[policies % 3]

    for _ in agent.learn(morl.make_vec(WALK, 6), 130, concave):
        pass
    assert len(agent.archive) == {"pareto": 3, "bounded": 2, "convex": 2}[kind]
    assert non_dominated(agent.archive.points).all()
    assert set(agent.export_policies()) == {*range(3), *agent.archive.payloads}


def test_the_criterion_is_a_switch() -> None:
    """A gamble and a safe choice with the same mean: only ESR, under a concave utility, tells them apart."""
    utilities = {}
    for criterion, preset in (("ser", "tchebycheff"), ("esr", "eupg")):
        agent = build(preset=preset, scale="none", weights="lattice")
        agent.returns = np.array([[[0.0, 10.0], [10.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]], [[1.0, 1.0], [1.0, 1.0]]])
        agent.bounds.ideal = np.array([10.0, 10.0])
        utilities[criterion] = agent._utilities()[1]
    assert utilities["ser"][0] == utilities["ser"][1]
    assert utilities["esr"][0] < utilities["esr"][1]


# --- What is refused --------------------------------------------------------------------------------------------------

REFUSED = [
    (WALK, {"solver": "sac"}, "solver is 'sac', but toy-walk-v0"),
    (CONTINUOUS, {"solver": "dqn"}, "solver is 'dqn'"),
    (WALK, {"solver": "reinforce"}, "solver is 'reinforce', but must be one of"),
    (CONTINUOUS, {"solver": "td3", "utility": "tchebycheff"}, "linear utilities only"),
    (CONTINUOUS, {"solver": "td3", "networks": "shared-layers"}, "networks is 'shared-layers'"),
    (WALK, {"utility": "tchebycheff", "reference": "static"}, "ideal is not given"),
    (WALK, {"utility": "tchebycheff", "reference": "static", "ideal": (1.0,)}, "must have 2 numbers"),
    (WALK, {"ideal": (1.0, 2.0)}, "reference is 'running'"),
    (WALK, {"criterion": "esr"}, "criterion is 'esr'"),
    (WALK, {"solver": "eupg"}, "set 'esr'"),
    (WALK, {"preset": "eupg", "augmented_state": False}, "needs solver 'eupg' and augmented_state"),
    (CONTINUOUS, {"solver": "ppo", "augmented_state": True}, "augmented_state is True"),
    (WALK, {"neighbourhood": "nearest", "neighbours": 3}, "neighbours is 3"),
    (WALK, {"transfer": "best"}, "neighbourhood is 'none'"),
    (WALK, {"replay": "neighbours"}, "neighbourhood is 'none'"),
    (WALK, {"transfer": "first-sweep", "neighbourhood": "all"}, "set selected below population"),
    (WALK, {"networks": "conditioned", "transfer": "best", "neighbourhood": "all"}, "nothing to transfer"),
    (WALK, {"networks": "shared-layers", "transfer": "best", "neighbourhood": "all"}, "keeps these layers alike"),
    (WALK, {"networks": "shared-layers", "selected": 2}, "need all"),
    (WALK, {"networks": "shared-layers", "shared_layers": 2}, "only 1 hidden layers"),
    (WALK, {"solver": "ppo", "replay": "shared"}, "no replay"),
    (WALK, {"solver": "ppo", "networks": "conditioned"}, "separate networks only"),
    (WALK, {"selected": 4}, "at most population"),
    (WALK, {"selected": 2, "num_envs": 5}, "multiple of selected"),
    (WALK, {"solver": "sb3:PPO", "selected": 2}, "one policy at a time"),
    (WALK, {"solver": "sb3:PPO", "utility": "pbi"}, "weighted sum"),
    (WALK, {"solver": "sb3:NOPE"}, "sb3_contrib is not installed|neither"),
    (WALK, {"solver": "sb3:SAC"}, "cannot act"),
    (WALK, {"psa_factor": 0.0}, "psa_factor is 0.0"),
    (WALK, {"soft_rate": 1.5}, "soft_rate is 1.5"),
    (WALK, {"hidden_sizes": ()}, "hidden_sizes is"),
    (WALK, {"offline_updates": -1}, "offline_updates is -1"),
]


@pytest.mark.parametrize(("env", "settings", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED])
def test_an_impossible_combination_is_refused_with_the_reason(env: str, settings: Any, reason: str) -> None:
    settings = dict(settings)
    num_envs = settings.pop("num_envs", 6)
    with pytest.raises(ValueError, match=reason):
        build(env, num_envs, **settings)
