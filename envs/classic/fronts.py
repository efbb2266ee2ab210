"""Known Pareto fronts, computed from the dynamics: `(discount, **env_options) -> points [n, objective]`.

`minecart_deterministic` alone is not the front but the best returns known (`EnvEntry.best_known_front`): no indicator
that needs the true front may use it.
"""

import sys
from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morl.envs.core.types import Array, EnvOption
from morl.pareto import non_dominated

Points = NDArray[np.float64]
ROCK = -10.0


def deep_sea_treasure(
    discount: float, dst_map: Array | None = None, max_episode_steps: int | None = 100, **_: EnvOption
) -> Points:
    """Return the front [treasure, time] of a deep-sea-treasure map.

    Treasures end the episode, so a route is the shortest path through open water (breadth-first search). A treasure on
    the n-th step is worth `discount**(n-1)` of its value and costs `1 + discount + ... + discount**(n-1)` in time.
    """
    from mo_gymnasium.envs.deep_sea_treasure.deep_sea_treasure import DEFAULT_MAP  # the map is mo-gymnasium's

    sea = np.asarray(DEFAULT_MAP if dst_map is None else dst_map, dtype=np.float64)
    found = sorted(_treasure_distances(sea, start=(0, 10 if sea.shape[1] > 11 else 0)))
    best = -np.inf
    points = []
    limit = steps_within(max_episode_steps)
    for steps, treasure in found:
        if steps > limit:
            break
        value = float(np.float32(treasure)) * discount ** (steps - 1)
        if value > best:
            best = value
            points.append((value, -float(np.sum(discount ** np.arange(steps)))))
    if not points:  # no treasure is in reach
        points.append((0.0, -float(np.sum(discount ** np.arange(limit)))))
    return np.array(points)


def steps_within(max_episode_steps: int | None) -> int:
    """Return how many steps an episode may have; None and -1 mean that there is no limit."""
    return sys.maxsize if max_episode_steps in (None, -1) else int(max_episode_steps or 0)


def _treasure_distances(sea: Points, start: tuple[int, int]) -> list[tuple[int, float]]:
    """Return (steps, value) of every treasure that can be reached without touching another one."""
    distance = {start: 0}
    queue = deque([start])
    found = []
    while queue:
        row, column = cell = queue.popleft()
        if sea[cell] > 0:
            found.append((distance[cell], float(sea[cell])))
            continue  # the episode ends here
        for neighbour in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= neighbour[0] < sea.shape[0] and 0 <= neighbour[1] < sea.shape[1]
            if inside and sea[neighbour] != ROCK and neighbour not in distance:
                distance[neighbour] = distance[cell] + 1
                queue.append(neighbour)
    return found


def deep_sea_treasure_concave(discount: float, **env_options: EnvOption) -> Points:
    """Return the front of the concave map (Vamplew et al. 2011), 10 points."""
    from mo_gymnasium.envs.deep_sea_treasure.deep_sea_treasure import CONCAVE_MAP

    return deep_sea_treasure(discount, **{"dst_map": CONCAVE_MAP, **env_options})


def deep_sea_treasure_mirrored(discount: float, **env_options: EnvOption) -> Points:
    """Return the front of the mirrored map (Felten et al. 2022): the same points as the concave map's."""
    from mo_gymnasium.envs.deep_sea_treasure.deep_sea_treasure import MIRRORED_MAP

    return deep_sea_treasure(discount, **{"dst_map": MIRRORED_MAP, **env_options})


def fruit_tree(discount: float, depth: int = 6, max_episode_steps: int | None = None, **_: EnvOption) -> Points:
    """Return the 2**depth leaves [n, 6], discounted to the step on which they are reached; all are non-dominated."""
    from mo_gymnasium.envs.fruit_tree.fruit_tree import FRUITS

    if steps_within(max_episode_steps) < depth:
        return np.zeros((1, 6))
    leaves = np.array(FRUITS[str(depth)], dtype=np.float32).astype(np.float64)  # the environment pays float32
    return leaves * discount ** (depth - 1)


GOLD = (0, 2)
GEM = (1, 4)
HOME = (4, 2)
ENEMIES = ((0, 3), (1, 2))
DEATH = 0.1
"""Chance that an enemy kills."""
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
Place = tuple[tuple[int, int], bool, bool]
"""Where the gatherer stands, and whether it carries gold and gem."""


def resource_gathering(discount: float, max_episode_steps: int | None = 100, **_: EnvOption) -> Points:
    """Return the exact front [survival, gold, gem] over deterministic policies, within the time limit.

    Pareto value iteration: the set of each place is the union over moves of the undominated returns behind it. An enemy
    kills with probability 0.1 (reward -1); items pay with the step onto home. After k sweeps the sets hold all plans of
    k steps. mo-gymnasium's own front misses a route and discounts one step too much.
    """
    places = [
        ((r, c), gold, gem) for r in range(5) for c in range(5) for gold in (False, True) for gem in (False, True)
    ]
    values: dict[Place, Points] = {place: np.zeros((1, 3)) for place in places}
    for _sweep in range(steps_within(max_episode_steps)):
        improved = {
            place: _undominated(np.concatenate([_after(values, place, m, discount) for m in MOVES])) for place in places
        }
        if all(np.array_equal(improved[place], values[place]) for place in places):
            break
        values = improved
    return values[(HOME, False, False)]


def _after(values: dict[Place, Points], place: Place, move: tuple[int, int], discount: float) -> Points:
    """Return the returns [n, 3] of making `move` and then the best that follows."""
    (row, column), gold, gem = place
    cell = (row + move[0], column + move[1])
    if not (0 <= cell[0] < 5 and 0 <= cell[1] < 5):
        cell = (row, column)
    if cell == HOME:
        return np.array([[0.0, float(gold), float(gem)]])
    gold = gold or cell == GOLD
    gem = gem or cell == GEM
    following = discount * values[(cell, gold, gem)]
    if cell in ENEMIES:
        return DEATH * np.array([[-1.0, 0.0, 0.0]]) + (1 - DEATH) * following
    return following


def minecart_deterministic(discount: float, **env_options: EnvOption) -> Points:
    """Return the best known returns [first ore, second ore, fuel]: a lower bound on the front, not the front.

    Replays the plans of `minecart_plans` in the batch kernel; a plan that does not reach home under `env_options`
    counts nothing.
    """
    from morl.envs.classic.minecart import MinecartKernel
    from morl.envs.classic.minecart_plans import PLANS

    longest = max(map(len, PLANS))
    actions = np.array([[int(action) for action in plan.ljust(longest, "5")] for plan in PLANS])  # 5: do nothing
    limit = min(steps_within(env_options.get("max_episode_steps")), longest)
    options = {name: value for name, value in env_options.items() if name != "max_episode_steps"}
    envs = MinecartKernel(len(PLANS), max_episode_steps=None, **{"config": _deterministic_mines(), **options})
    envs.reset(seed=0)
    returns = np.zeros((len(PLANS), 3))
    driving = np.ones(len(PLANS), dtype=np.bool_)
    for step in range(limit):
        _, rewards, terminated, _, _ = envs.step(actions[:, step])
        returns[driving] += discount**step * rewards[driving]
        driving &= ~terminated
    return _undominated(returns[~driving])


def _deterministic_mines() -> str:
    from mo_gymnasium.envs.minecart import minecart

    return str(Path(minecart.__file__).parent / "mine_config_det.json")


def _undominated(points: Points) -> Points:
    """Return the distinct non-dominated rows, sorted."""
    points = np.unique(np.round(points, 12), axis=0)
    return points[non_dominated(points)]
