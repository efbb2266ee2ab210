"""Every call of the vector interface, on batch forms and on the synchronous backend: equal, or refused alike."""

import gymnasium
import numpy as np
import pytest

from morl.envs import make_vec, specs

NUM_ENVS = 3
BATCHED = [name for name, entry in specs.items() if str(entry.vector_entry_point).startswith("morl.")]
BACKENDS = [None, "synchronous"]


def difference(one, other, path=""):
    """Return where two results of a call differ, dtypes and masks included, or None."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{path}: {sorted(one)} and {sorted(other)}"
        found = (difference(one[key], other[key], f"{path}[{key!r}]") for key in one)
        return next((text for text in found if text), None)
    if one is None or other is None:
        return None if one is other else f"{path}: {one} and {other}"
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{path}: {one.dtype} {one.shape} and {other.dtype} {other.shape}"
    if one.dtype == object:
        found = (
            difference(pair[0], pair[1], f"{path}[{index}]") for index, pair in enumerate(zip(one, other, strict=True))
        )
        return next((text for text in found if text), None)
    return None if np.array_equal(one, other) else f"{path}: {one} and {other}"


def settled(result, own_infos):
    """Return a call's result without what only one side has: old rows of `final_obs`, MuJoCo's diagnostic infos."""
    *outcome, infos = result
    infos = dict(infos)
    if "final_obs" in infos:
        infos["final_obs"] = [infos["final_obs"][index] for index in np.flatnonzero(infos["_final_obs"])]
    if not own_infos:
        infos = {key: infos[key] for key in ("final_obs", "_final_obs", "_final_info") if key in infos}
    return {str(number): value for number, value in enumerate((*outcome, infos))}


def calls(env_id, space, rng):
    """Yield (method, argument): steps in both precisions, and every kind of reset."""
    while True:
        if rng.random() < 0.05:
            mask = {"reset_mask": np.array([False, True, True])}
            bounds = {"low": -0.9, "high": -0.3} if "mountaincar" in env_id else {"unknown": 1}
            seeds = [int(seed) for seed in rng.integers(100, size=NUM_ENVS)]
            kinds = [{"seed": seeds}, {"seed": [3, None, 5]}, {"seed": np.array(seeds)}, {"seed": np.int64(4)}, {}]
            kinds += [{"options": mask}, {"seed": 9, "options": mask}, {"options": bounds}]
            yield "reset", kinds[rng.integers(len(kinds))]
        if rng.random() < 0.5:
            actions = space.sample()
            if (
                actions.dtype.kind == "f" and rng.random() < 0.6
            ):  # beyond the bounds; float64, and once in a while integer
                wide = rng.uniform(-1.3, 1.3, actions.shape) * (100 if "reservoir" in env_id else 1)
                actions = wide if rng.random() < 0.9 else np.sign(wide).astype(int)
            for _ in range(rng.integers(1, 5)):
                yield "step", actions


@pytest.mark.parametrize("env_id", BATCHED)
def test_batch_forms_answer_every_call_as_single_environments_do(env_id):
    batch, singles = (make_vec(env_id, NUM_ENVS, seed=7, backend=backend) for backend in BACKENDS)
    assert batch.metadata["backend"] in ("kernel", "mujoco-batch")
    own_infos = not env_id.startswith(
        ("mo-h", "mo-w", "mo-s", "mo-a", "cmorl")
    )  # those with diagnostics in their infos
    first = [settled(envs.reset(), own_infos) for envs in (batch, singles)]
    assert difference(first[0], first[1]) is None
    batch.action_space.seed(0)
    for number, (method, given) in enumerate(calls(env_id, batch.action_space, np.random.default_rng(0))):
        results = []
        for envs in (batch, singles):
            result = envs.step(given.copy()) if method == "step" else envs.reset(**given)
            results.append(settled(result, own_infos))
        assert difference(results[0], results[1]) is None, (number, method, given)
        if number == 150:
            break


SEA = "deep-sea-treasure-v0"
HOPPER = "mo-hopper-v5"
CAR = "mo-mountaincarcontinuous-v0"


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("env_id", "actions", "message"),
    [
        (SEA, [0, 1, 4], "the action of environment 2 must be in 0 .. 3, got 4"),
        (SEA, [0.0, 1.0, 2.5], r"actions must be integers of shape \(3,\), got float64"),
        (SEA, [[0], [1], [2]], r"got int64 of shape \(3, 1\)"),
        (SEA, 1, r"got int64 of shape \(\)"),
        (SEA, None, "got object"),
        (SEA, "one", "got <U3"),
        (SEA, [[0], [1, 2]], "actions must be integers"),
        (HOPPER, np.full((3, 3), np.nan, np.float32), "the action of environment 0 must be finite, got .nan"),
        (HOPPER, np.array([[0, 0, 0], [0, np.inf, 0], [0, 0, 0]]), "the action of environment 1 must be finite"),
        (HOPPER, np.zeros((3, 4)), r"actions must be numbers of shape \(3, 3\), got float64 of shape \(3, 4\)"),
        (HOPPER, np.zeros(3), r"got float64 of shape \(3,\)"),
        (CAR, np.full((3, 1), 1e30), "the reward at step 1 of .*environment 0.* must be 2 finite numbers"),
    ],
)
def test_wrong_actions_are_one_sentence(backend, env_id, actions, message):
    envs = make_vec(env_id, NUM_ENVS, seed=0, backend=backend)
    envs.reset()
    with pytest.raises(ValueError, match=message):
        envs.step(actions)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed must be None, a non-negative integer, or 3 of them .*, got -1"),
        ({"seed": 1.5}, "got 1.5"),
        ({"seed": True}, "got True"),
        ({"seed": "abc"}, "got 'abc'"),
        ({"seed": [1, 2]}, r"got \[1, 2\]"),
        ({"seed": [1, 2, -3]}, "got .1, 2, -3"),
        ({"seed": [1.0, 2.0, 3.0]}, "got .1.0"),
        (
            {"options": {"reset_mask": np.array([1, 0, 1])}},
            "'reset_mask'. must be 3 booleans, at least one of them true",
        ),
        ({"options": {"reset_mask": np.zeros(3, bool)}}, "at least one"),
        ({"options": {"reset_mask": np.ones(2, bool)}}, "3 booleans"),
        ({"options": {"reset_mask": None}}, "got None"),
    ],
)
def test_wrong_resets_are_one_sentence_and_change_nothing(backend, given, message):
    envs, others = (make_vec(SEA, NUM_ENVS, seed=0, backend=backend) for _ in range(2))
    envs.reset()
    others.reset()
    with pytest.raises(ValueError, match=message):
        envs.reset(**given)
    for one, other in zip(envs.step([1, 2, 3]), others.step([1, 2, 3]), strict=True):
        assert difference(one, other) is None


@pytest.mark.parametrize("backend", [*BACKENDS, "processes"])
def test_the_first_reset_begins_all_envs(backend):
    envs = make_vec("fishwood-v0", 2, seed=0, backend=backend)
    try:
        with pytest.raises(gymnasium.error.ResetNeeded):
            envs.step([0, 0])
        with pytest.raises(gymnasium.error.ResetNeeded, match="the first reset must reset all environments"):
            envs.reset(options={"reset_mask": np.array([True, False])})
        envs.reset(options={"reset_mask": np.array([True, True])})
        with pytest.raises(ValueError, match="the action of environment 1 must be in"):  # workers go on after it
            envs.step([0, 2])
        assert envs.step([0, 0])[1].shape == (2, 2)
    finally:
        envs.close()
        envs.close()  # the second time does nothing


@pytest.mark.parametrize("limit", [0, -3, 2.5, "many"])
def test_a_wrong_time_limit_is_one_sentence(limit):
    with pytest.raises(ValueError, match=r"max_episode_steps"):
        make_vec(SEA, 1, max_episode_steps=limit)
