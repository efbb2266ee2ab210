"""The lab's fronts: against brute force and simulations of the policies behind them, and out of reach of others."""

import itertools
import time

import numpy as np
import pytest

from morl.envs import make, make_vec, specs
from morl.envs.families.lab import dam, docking, knapsack, linear_quadratic, scheduling, stochastic_grid
from morl.envs.families.lab.convex_front import TabularProblem, best_plans, convex_front, distinct_front, scaled_lattice
from morl.pareto import hypervolume, non_dominated
from morl.preferences import finest_lattice

LAB = [name for name in specs if name.startswith("lab/")]
TABULAR = {
    "lab/stochastic-grid-v0": (stochastic_grid, 0.95),
    "lab/docking-v0": (docking, 0.98),
    "lab/dam-v0": (dam, 0.9),
}
SINGLE_RETURNS = ["lab/knapsack-v0", "lab/scheduling-v0", "lab/concave-arc-v0", "lab/concave-arc-discrete-v0"]
"""Without chance: every episode is a point of the attainable set."""


def known(env_id):
    return specs[env_id].known_front(specs[env_id].discount)


def undominated(points):
    """Return the distinct non-dominated rows, the slow and obvious way."""
    points = np.unique(np.round(points, 9), axis=0)
    return np.array([p for p in points if not ((points >= p).all(axis=1) & (points > p).any(axis=1)).any()])


def first_episodes(env_id, episodes, choose, seed=0, **options):
    """Return discounted returns [episode, objective] of the first episode of each environment.

    `choose` maps (envs, observations, step) to actions.
    """
    envs = make_vec(env_id, episodes, seed=seed, **options)
    observations, _ = envs.reset()
    returns = np.zeros((episodes, envs.num_objectives))
    running = np.ones(episodes, bool)
    step = 0
    while running.any():
        observations, rewards, terminated, truncated, _ = envs.step(choose(envs, observations, step))
        returns[running] += specs[env_id].discount ** step * rewards[running]
        running &= ~(terminated | truncated)
        step += 1
    return returns


@pytest.mark.parametrize("env_id", LAB)
def test_a_front_is_a_front_well_above_the_reference_point_and_quick(env_id):
    start = time.process_time()
    front = known(env_id)
    assert time.process_time() - start < 4  # the two seconds, on a busy machine
    entry = specs[env_id]
    assert front.shape[1] == len(entry.objectives) == len(entry.reference_point)
    assert non_dominated(front).all()
    ideal = np.prod(front.max(axis=0) - entry.reference_point)
    assert 0.25 * ideal < hypervolume(front, entry.reference_point) < 0.95 * ideal
    front[:] = 0  # what is cached is not what is returned
    assert np.abs(known(env_id)).max() > 0


@pytest.mark.parametrize(
    ("env_id", "points", "volume"),
    [
        ("lab/knapsack-v0", 68, 1933.225),
        ("lab/scheduling-v0", 57, 1102.36875),
        ("lab/stochastic-grid-v0", 60, 8.150292),
        ("lab/linear-quadratic-2-v0", 101, 1.059357),
        ("lab/linear-quadratic-4-v0", 220, 372544.757),
        ("lab/docking-v0", 88, 96153.47198),
        ("lab/concave-arc-v0", 101, 0.31320706),
        ("lab/concave-arc-discrete-v0", 17, 0.29379945),
        ("lab/dam-v0", 67, 142.376828),
    ],
)
def test_the_fronts_stay_what_they_are(env_id, points, volume):
    front = known(env_id)
    assert len(front) == points
    assert hypervolume(front, specs[env_id].reference_point) == pytest.approx(volume, rel=1e-6)


# The rules, by hand.


def stepped(env_id, actions, **arrays):
    """Return what a step gives from states that are written into a fresh batch."""
    envs = make_vec(env_id, len(actions), seed=0)
    envs.reset()
    for name, values in arrays.items():
        envs.arrays[name][:] = values
    return envs.step(np.array(actions))[1:3], envs.arrays


def test_rules_of_docking():
    place = [[1, 2], [40, -1], [10, 1], [10, 6]]
    (rewards, terminated), after = stepped("lab/docking-v0", [2, 0, 1, 2], place=place)
    assert rewards.tolist() == [[-2, -0.4, -250 * 0.75**2], [-2, -0.4, -1000], [-2, 0, 0], [-2, -0.4, 0]]
    assert terminated.tolist() == [True, True, False, False]
    assert after["place"][2:].tolist() == [[9, 1], [4, 6]]


def test_rules_of_the_dam():
    assert dam.week(16.0, 3.0, 9.0) == pytest.approx((16, -10 * 7 - 100 * 6, -0.1))
    assert dam.week(1.0, 7.0, 0.0) == pytest.approx((0, 0, -0.1 * (3 + 1)))
    assert dam.week(12.0, 9.0, 2.0) == pytest.approx((7, 0, 0))
    counts = np.bincount([int(dam.inflow_of(u)) for u in (np.arange(1000) + 0.5) / 1000], minlength=10)
    assert counts[[0, 2, 4, 9]].tolist() == [300, 300, 200, 200]


def test_rules_of_the_grid():
    (_, _), after = stepped("lab/stochastic-grid-v0", [1] * 20_000)
    cells, counts = np.unique(after["cells"], axis=0, return_counts=True)
    assert cells.tolist() == [[4, 0], [5, 0], [5, 1]]  # up, stopped by the wall, right
    np.testing.assert_allclose(counts / 20_000, [0.1, 0.1, 0.8], atol=0.01)
    (rewards, terminated), _ = stepped("lab/stochastic-grid-v0", [0] * 200, cells=[4, 3])
    assert np.unique(rewards, axis=0).tolist() == [[0, -1], [0, 0], [2, 0]]  # rubble to the right, an exit to the left
    np.testing.assert_array_equal(terminated, rewards[:, 0] == 2)


def test_rules_of_linear_quadratic_control():
    (rewards, _), after = stepped("lab/linear-quadratic-2-v0", [[0.5], [3.0]], state=[1, 0, 1, 0])
    np.testing.assert_allclose(rewards, [[-(1.125**2) - 0.2, -1], [-(1.25**2) - 0.8, -4]])  # beyond the bounds: cut off
    np.testing.assert_allclose(after["state"], [[1.125, 0.5, 1, 1], [1.25, 1, 1, 1]])
    (rewards, _), _ = stepped("lab/linear-quadratic-4-v0", [[0.0, 1.0]], state=[0, 0, 0, 0, 1, 0])
    distances = [(0.25 - y) ** 2 + x**2 for x, y in ((1, 0), (-0.5, 0.75**0.5), (-0.5, -(0.75**0.5)))]
    np.testing.assert_allclose(rewards[0], [*(-d - 0.8 for d in distances), -4])


def test_rules_of_scheduling():
    env = make("lab/scheduling-v0")
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [1, 1, 1, 0, 1, 0, 1, 0]  # 3, 5 and 7 wait
    _, reward, *_, info = env.step(0)
    np.testing.assert_allclose(reward, [0, -2 / 8, -35 * (60 + 45)])
    assert info["action_mask"].tolist() == [0, 1, 1, 0, 1, 1, 1, 0]
    _, reward, *_ = env.step(5)
    np.testing.assert_allclose(reward, [-0.007, -5 / 8, -75 * (40 + 70 + 120)])


@pytest.mark.parametrize("env_id", LAB)
def test_a_time_limit_is_that_of_the_front_too(env_id):
    """Beyond the task's own length it changes nothing; short of it, returns are those of fewer steps."""
    front, discount = specs[env_id].known_front, specs[env_id].discount
    own = {"lab/stochastic-grid-v0": 400, "lab/docking-v0": 400, "lab/dam-v0": 400}.get(env_id, 20)
    for limit in (None, -1):
        np.testing.assert_array_equal(front(discount, max_episode_steps=limit), front(discount, max_episode_steps=own))
    options = {"max_episode_steps": 1}
    short, policy = front(discount, **options), np.random.default_rng(0)
    returns = first_episodes(env_id, 2000, lambda envs, _seen, _step: allowed_action(envs, policy), **options)
    weights = policy.dirichlet(np.ones(short.shape[1]), size=100) / np.maximum(np.ptp(short, axis=0), 1e-6)
    best, utilities = (weights @ short.T).max(axis=1), returns @ weights.T
    error = 4.5 * utilities.std(axis=0) / np.sqrt(len(returns))
    assert (utilities.mean(axis=0) <= best + error + 0.01 * np.abs(best)).all()
    assert np.abs(short).sum() < np.abs(known(env_id)).sum()


def allowed_action(envs, rng):
    """Return random actions, allowed ones where there are masks."""
    mask = envs._infos().get("action_mask")
    if mask is not None:
        return (rng.random(mask.shape) * mask).argmax(axis=1)
    space = envs.single_action_space
    if hasattr(space, "n"):
        return rng.integers(space.n, size=envs.num_envs)
    return rng.uniform(space.low, space.high, size=(envs.num_envs, *space.shape))


# Without chance: brute force.


def replays(env, discount=1.0, actions=()):
    """Yield the return of every episode of allowed actions, by playing them from the start."""
    _, info = env.reset(seed=0)
    total, ended = np.zeros(3), False
    for step, action in enumerate(actions):
        _, reward, terminated, truncated, info = env.step(action)
        total, ended = total + discount**step * reward, terminated or truncated
    if ended:
        yield total
        return
    for action in np.flatnonzero(info["action_mask"]):
        yield from replays(env, discount, (*actions, action))


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.5])
@pytest.mark.parametrize(
    ("env_id", "task", "options"),
    [
        ("lab/knapsack-v0", knapsack, {"parcels": 5}),
        ("lab/scheduling-v0", scheduling, {"jobs": 5}),
        ("lab/knapsack-v0", knapsack, {"max_episode_steps": 2}),
        ("lab/scheduling-v0", scheduling, {"max_episode_steps": 3}),
    ],
)
def test_the_front_of_a_smaller_instance_is_what_all_its_episodes_reach(env_id, task, options, discount):
    everything = np.array(list(replays(make(env_id, **options), discount)))
    np.testing.assert_allclose(task.front(discount, **options), undominated(everything), rtol=0, atol=1e-6)


def test_knapsack_front_is_that_of_all_subsets():
    loads = np.array(list(itertools.product((0, 1), repeat=12)))
    loads = loads[loads @ knapsack.WEIGHTS <= knapsack.CAPACITY]
    returns = loads @ np.stack([knapsack.REVENUES, knapsack.GOODWILL, knapsack.RECYCLED], axis=1)
    np.testing.assert_allclose(known("lab/knapsack-v0"), undominated(returns), atol=1e-9)


def test_scheduling_front_is_that_of_all_orders_in_the_environment():
    orders = np.array(list(itertools.permutations(range(8))))
    places = np.argsort(orders, axis=1)
    legal = np.ones(len(orders), bool)
    for job, before in enumerate(scheduling.PREDECESSORS):
        legal &= (before < 0) | (places[:, before] < places[:, job])
    returns = first_episodes("lab/scheduling-v0", len(orders), lambda _envs, _seen, step: orders[:, step])
    np.testing.assert_allclose(known("lab/scheduling-v0"), undominated(returns[legal]), atol=1e-6)
    assert (returns[~legal] < returns[legal].min(axis=0)).all(), "a forbidden job must not pay for any preference"


@pytest.mark.parametrize(
    ("env_id", "scaled", "raw"),
    [("lab/knapsack-v0", 0.868, 0.412), ("lab/scheduling-v0", 0.934, 0.396), ("lab/concave-arc-v0", 0.327, 0.327)],
)
def test_linear_preferences_find_a_part_of_the_front_and_less_in_raw_units(env_id, scaled, raw):
    """The shares of docs/environments/lab.md."""
    front, reference = known(env_id), specs[env_id].reference_point
    lattice = finest_lattice(front.shape[1], 250)
    for weights, share in ((lattice / np.ptp(front, axis=0), scaled), (lattice, raw)):
        found = front[(weights @ front.T).argmax(axis=1)]
        assert hypervolume(found, reference) / hypervolume(front, reference) == pytest.approx(share, abs=1e-3)


def test_scheduling_objectives_have_the_scales_it_is_for():
    sizes = np.abs(known("lab/scheduling-v0")).mean(axis=0)
    assert (sizes > [0.005, 5, 50_000]).all()
    assert (sizes < [0.05, 20, 200_000]).all()


def test_a_forbidden_parcel_ends_the_episode_without_pay():
    envs = make_vec("lab/knapsack-v0", 2, seed=0)
    envs.reset()
    _, rewards, *_ = envs.step(np.array([4, 4]))
    np.testing.assert_array_equal(rewards[0], [560, 9.5, 0.007])
    _, rewards, terminated, _, infos = envs.step(np.array([4, 7]))
    assert terminated.tolist() == [True, False]
    np.testing.assert_array_equal(rewards[0], 0)
    np.testing.assert_array_equal(infos["action_mask"][0], 1)  # of the next episode
    assert infos["action_mask"][1].sum() == 10
    assert infos["action_mask"].dtype == np.int8


@pytest.mark.parametrize(("env_id", "option"), [("lab/knapsack-v0", "parcels"), ("lab/scheduling-v0", "jobs")])
@pytest.mark.parametrize("number", [0, 13])
def test_wrong_sizes(env_id, option, number):
    with pytest.raises(ValueError, match=rf"{option} must be in 1 \.\. .*, got {number}"):
        make_vec(env_id, 1, **{option: number})


def test_all_17_angles_of_the_discrete_arc_are_reached_in_the_environment():
    steps = np.array([np.where(np.arange(8) < abs(n), 1 + np.sign(n), 1) for n in range(-8, 9)])
    returns = first_episodes("lab/concave-arc-discrete-v0", 17, lambda _envs, _seen, step: steps[:, step])
    np.testing.assert_allclose(returns, known("lab/concave-arc-discrete-v0"), atol=1e-12)


def test_every_return_of_the_arc_lies_on_it_and_its_ends_can_be_reached():
    turns = np.linspace(-0.5, 0.5, 101)[:, None]
    returns = first_episodes("lab/concave-arc-v0", 101, lambda _envs, _seen, _step: turns)
    np.testing.assert_allclose(returns, known("lab/concave-arc-v0"), atol=1e-12)
    rng = np.random.default_rng(0)
    returns = first_episodes("lab/concave-arc-v0", 500, lambda _envs, _seen, _step: rng.uniform(-1.2, 1.2, (500, 1)))
    np.testing.assert_allclose(((1 - returns) ** 2).sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("env_id", ["lab/concave-arc-v0", "lab/concave-arc-discrete-v0"])
def test_no_linear_preference_finds_the_inside_of_an_arc(env_id):
    front = known(env_id)
    best = (np.random.default_rng(0).dirichlet(np.ones(2), size=100) @ front.T).argmax(axis=1)
    assert set(best) == {0, len(front) - 1}
    np.testing.assert_array_less(front[1:-1].sum(axis=1), 1)  # below the chord


# Decision processes: the dynamic programming itself, then its policies in the environment.


@pytest.mark.parametrize("seed", range(4))
def test_best_plans_against_all_policies_of_a_small_process(seed):
    """Three states, two actions, three steps: 512 deterministic policies that may depend on the step."""
    rng = np.random.default_rng(seed)
    problem = TabularProblem(
        following=rng.integers(3, size=(3, 2, 2)),
        chances=rng.dirichlet(np.ones(2), size=(3, 2)),
        rewards=rng.normal(size=(3, 2, 2)),
        start=rng.dirichlet(np.ones(3)),
    )
    matrix = np.zeros((3, 2, 3))
    for state, action, outcome in np.ndindex(3, 2, 2):
        matrix[state, action, problem.following[state, action, outcome]] += problem.chances[state, action, outcome]
    everything = []
    for policy in itertools.product(itertools.product((0, 1), repeat=3), repeat=3):
        total, where = np.zeros(2), problem.start
        for step, actions in enumerate(policy):
            total = total + 0.9**step * where @ problem.rewards[np.arange(3), actions]
            where = where @ matrix[np.arange(3), actions]
        everything.append(total)
    everything = np.array(everything)
    weights = rng.dirichlet(np.ones(2), size=20)
    returns = best_plans(problem, 0.9, 3, weights).returns
    np.testing.assert_allclose((weights * returns).sum(axis=1), (weights @ everything.T).max(axis=1), atol=1e-12)
    assert all(np.abs(everything - point).max(axis=1).min() < 1e-12 for point in returns)


def test_an_action_that_pays_minus_infinity_is_never_taken():
    rewards = np.array([[[-np.inf, -np.inf], [-5.0, -7.0]]])
    problem = TabularProblem(np.zeros((1, 2, 1), np.int64), np.ones((1, 2, 1)), rewards, np.ones(1))
    np.testing.assert_array_equal(best_plans(problem, 1.0, 2, np.eye(2)).returns, [[-10, -14]] * 2)


def test_weights_are_those_of_ranges():
    def solve(weights):
        front = np.array([[0.0, 1000.0], [0.6, 600.0], [1.0, 0.0]])
        return front[(weights @ front.T).argmax(axis=1)]

    np.testing.assert_allclose(scaled_lattice(solve, 2, 2)[1], [0.5, 0.0005])
    assert len(convex_front(solve, 2, 10)) == 3


def state_of(env_id, envs):
    """Return the row [env] of the table for each environment."""
    if env_id == "lab/stochastic-grid-v0":
        return envs.arrays["cells"] @ [stochastic_grid.SIDE, 1]
    if env_id == "lab/docking-v0":
        return (envs.arrays["place"] - [1, docking.SLOWEST]) @ [docking.FASTEST - docking.SLOWEST + 1, 1]
    return envs.arrays["level"].astype(int)


@pytest.mark.parametrize("env_id", TABULAR)
def test_the_policies_of_the_front_earn_what_it_claims(env_id):
    task, discount = TABULAR[env_id]
    table, front = task.as_table(), known(env_id)
    weights = np.random.default_rng(0).dirichlet(np.ones(front.shape[1]), size=6) / np.ptp(front, axis=0)
    plans = best_plans(table, discount, 50, weights)
    for row in range(len(weights)):

        def choose(envs, _seen, step, row=row):
            actions = plans.actions[step, row, state_of(env_id, envs)]
            return actions if env_id != "lab/dam-v0" else actions[:, None].astype(float)

        returns = first_episodes(env_id, 3000, choose, seed=row)
        error = np.sqrt(returns.var(axis=0) / len(returns)) + 1e-9
        assert (np.abs(returns.mean(axis=0) - plans.returns[row]) < 4.5 * error).all()


@pytest.mark.parametrize("env_id", TABULAR)
def test_other_preferences_lose_next_to_nothing(env_id):
    task, discount = TABULAR[env_id]
    front = known(env_id)
    weights = np.random.default_rng(1).dirichlet(np.ones(front.shape[1]), size=100) / np.ptp(front, axis=0)
    returns = best_plans(task.as_table(), discount, 50, weights).returns
    losses = (weights * returns).sum(axis=1) - (weights @ front.T).max(axis=1)
    assert losses.max() < 0.005
    assert losses.min() > -1e-8


@pytest.mark.parametrize("env_id", TABULAR)
def test_policies_that_do_not_see_the_clock_come_close(env_id):
    """The front may count steps, which agents cannot: policies of the endless task reach 99.5 % of its hypervolume."""
    task, discount = TABULAR[env_id]
    table, reference = task.as_table(), specs[env_id].reference_point
    objectives = len(reference)

    def solve(weights):
        return best_plans(table, discount, 50, weights).returns

    weights = scaled_lattice(solve, objectives, 100 if objectives == 2 else 20)
    endless = best_plans(table, discount, 400, weights).actions[0]
    vectors, states = np.zeros((*endless.shape, objectives)), np.arange(endless.shape[1])
    for _ in range(50):
        onwards = vectors[np.arange(len(weights))[:, None, None], table.following[states, endless]]
        expected = (table.chances[states, endless][..., None] * onwards).sum(axis=2)
        vectors = table.rewards[states, endless] + discount * expected
    reached = distinct_front(np.einsum("s,psm->pm", table.start, vectors))
    assert hypervolume(reached, reference) > 0.995 * hypervolume(known(env_id), reference)


def test_whole_releases_are_best_although_any_amount_may_be_released():
    weights = np.random.default_rng(2).dirichlet(np.ones(2), size=20) / np.ptp(known("lab/dam-v0"), axis=0)
    whole = best_plans(dam.as_table(), 0.9, 50, weights).returns
    parts = best_plans(dam.as_table(parts=3), 0.9, 50, weights).returns
    np.testing.assert_allclose((weights * parts).sum(axis=1), (weights * whole).sum(axis=1), atol=1e-9)


# Linear-quadratic control.


@pytest.mark.parametrize("objectives", [2, 4])
def test_other_preferences_lose_next_to_nothing_in_control_either(objectives):
    task = linear_quadratic.CART if objectives == 2 else linear_quadratic.PUCK
    front = known(f"lab/linear-quadratic-{objectives}-v0")
    weights = np.random.default_rng(1).dirichlet(np.ones(objectives), size=300) / np.ptp(front, axis=0)
    returns = linear_quadratic.best_controllers(task, 1.0, weights).returns
    losses = (weights * returns).sum(axis=1) - (weights @ front.T).max(axis=1)
    assert losses.max() < 0.01
    assert losses.min() > -1e-8


@pytest.fixture(params=["lab/linear-quadratic-2-v0", "lab/linear-quadratic-4-v0"])
def controlled(request):
    task = linear_quadratic.CART if "-2-" in request.param else linear_quadratic.PUCK
    front = known(request.param)
    weights = np.random.default_rng(0).dirichlet(np.ones(front.shape[1]), size=8) / np.ptp(front, axis=0)
    return request.param, task, front, weights


def test_the_controllers_of_the_front_earn_what_it_claims(controlled):
    env_id, task, _, weights = controlled
    controllers = linear_quadratic.best_controllers(task, 1.0, weights)
    for row in range(len(weights)):

        def choose(envs, _seen, step, row=row):
            return -envs.arrays["state"][:, : len(task.dynamics)] @ controllers.gains[step, row].T

        returns = first_episodes(env_id, 3000, choose, seed=row)
        error = np.sqrt(returns.var(axis=0) / len(returns)) + 1e-9
        assert (np.abs(returns.mean(axis=0) - controllers.returns[row]) < 4.5 * error).all()


def outputs_of_actions(task, start):
    """Return all outputs as an affine function of all actions: F [step, objective, output, number], f without it."""
    count = linear_quadratic.STEPS * task.control.shape[1]
    states = np.zeros((len(task.dynamics), count + 1))
    states[:, -1] = np.append(start, 1.0)
    outputs = []
    for step in range(linear_quadratic.STEPS):
        states = task.dynamics @ states
        for action in range(task.control.shape[1]):
            states[:, step * task.control.shape[1] + action] += task.control[:, action]
        outputs.append(task.outputs @ states)
    return np.array(outputs)[..., :-1], np.array(outputs)[..., -1]


@pytest.mark.parametrize("corner", [0.0, 1.0, -0.7])
def test_no_sequence_of_actions_is_better_than_the_controller(controlled, corner):
    """From a given start, the best sequence is a least-squares problem; its cost is that of the controller."""
    _, task, _, weights = controlled
    controllers = linear_quadratic.best_controllers(task, 1.0, weights)
    slope, constant = outputs_of_actions(task, corner * task.start)
    for row, weight in enumerate(weights):
        scale = np.sqrt(weight)[None, :, None]
        effort = np.sqrt(weight @ task.effort)
        design = np.vstack([
            (slope * scale[..., None]).reshape(-1, slope.shape[-1]),
            np.diag(np.tile(effort, linear_quadratic.STEPS)),
        ])  # fmt: skip
        target = np.append(-(constant * scale).ravel(), np.zeros(slope.shape[-1]))
        best = np.linalg.lstsq(design, target, rcond=None)[0]
        assert np.abs(best).max() < 1, "the bounds of the action must not bind"
        state = np.append(corner * task.start, 1.0)
        for step in range(linear_quadratic.STEPS):
            action = -controllers.gains[step, row] @ state
            np.testing.assert_allclose(action, best.reshape(linear_quadratic.STEPS, -1)[step], atol=1e-8)
            state = task.dynamics @ state + task.control @ action


def test_no_policy_of_the_front_needs_more_than_the_largest_force(controlled):
    _, task, front, _ = controlled

    def solve(weights):
        return linear_quadratic.best_controllers(task, 1.0, weights).returns

    weights = scaled_lattice(solve, front.shape[1], 100 if front.shape[1] == 2 else 9)
    gains = linear_quadratic.best_controllers(task, 1.0, weights).gains
    for corner in itertools.product(*((-extent, extent) for extent in task.start)):
        states = np.tile(np.append(corner, 1.0), (len(weights), 1))
        for step in range(linear_quadratic.STEPS):
            actions = -np.einsum("pas,ps->pa", gains[step], states)
            assert np.abs(actions).max() <= 1
            states = states @ task.dynamics.T + actions @ task.control.T


# No other policy gets beyond a front.


def network(space, width, rng):
    """Return a random policy: one hidden layer on the observation, an arg max or a clipped amount."""
    first, bias = rng.normal(size=(width, 16)), rng.normal(size=16)
    choices = int(space.n) if hasattr(space, "n") else space.shape[0]
    last = rng.normal(size=(16, choices))

    def act(envs, observations, _step):
        scores = np.tanh(observations @ first + bias) @ last
        if not hasattr(space, "n"):
            return space.low + (space.high - space.low) / (1 + np.exp(-scores))
        if envs._infos():
            scores = np.where(envs._infos()["action_mask"], scores, -np.inf)
        return scores.argmax(axis=1)

    return act


@pytest.mark.parametrize("env_id", LAB)
def test_no_random_policy_is_beyond_the_front(env_id):
    envs = make_vec(env_id, 1)
    front = known(env_id)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(front.shape[1]), size=200) / np.ptp(front, axis=0)
    best = (weights @ front.T).max(axis=1)
    for number in range(30):
        policy = network(envs.single_action_space, envs.single_observation_space.shape[0], rng)
        returns = first_episodes(env_id, 300, policy, seed=number)
        if env_id in SINGLE_RETURNS:
            assert (front >= returns[0] - 0.01 * np.ptp(front, axis=0)).all(axis=1).any()
        utilities = returns @ weights.T
        error = utilities.std(axis=0) / np.sqrt(len(returns))
        assert (utilities.mean(axis=0) <= best + 4.5 * error + 0.006).all()
