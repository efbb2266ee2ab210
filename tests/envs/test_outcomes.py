"""What environments return is validated and copied at one border, alike in every backend; time limits hold."""

from contextlib import closing

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from morl.envs import ContractViolation, check_env, make, make_vec, problem, register
from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.core.registry import episode_limit

PLAIN = Box(-np.inf, np.inf, (2,), np.float64)


class Scripted(gymnasium.Env):
    """Returns `observe(step)` and `tell(step)`; episodes have five steps."""

    observation_space = PLAIN
    action_space = Discrete(3)
    reward_space = Box(-9, 9, (2,), np.float64)

    def observe(self, step):
        return np.full(2, float(step))

    def tell(self, step):
        return {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.observe(0), self.tell(0)

    def step(self, action):
        self.count += 1
        return self.observe(self.count), np.ones(2), self.count >= 5, False, self.tell(self.count)


def scripted(space=PLAIN, **methods):
    wrapped = {name: (lambda self, step, method=method: method(step)) for name, method in methods.items()}
    return type("Scripted", (Scripted,), {"observation_space": space, **wrapped})


NESTED = Dict({"where": PLAIN, "inner": Tuple((Discrete(4, start=1), MultiBinary(2), MultiDiscrete([3, 3])))})


def nested(where=(0.0, 0.0), number=1, flags=(0, 1), cells=(0, 2)):
    return {"where": np.array(where), "inner": (np.int64(number), np.array(flags, np.int8), np.array(cells))}


WRONG = [
    (PLAIN, lambda: np.array([np.nan, 0.0]), r"observation at step 2 of environment 0, seed 40 must be finite"),
    (PLAIN, lambda: np.array([0.0, np.inf]), "must be finite in float32, got \\[0.0, inf\\]"),
    (PLAIN, lambda: np.array([0.0, 1e39]), "must be finite in float32, got \\[0.0, 1e\\+39\\]"),
    (PLAIN, lambda: np.zeros(3), r"must be numbers of shape \(2,\), got float64 of shape \(3,\)"),
    (PLAIN, lambda: 0.0, r"must be numbers of shape \(2,\), got float64 of shape \(\)"),
    (PLAIN, lambda: None, "must be numbers of shape"),
    (PLAIN, lambda: [[1.0], [1.0, 2.0]], "must be an array of shape"),
    (PLAIN, lambda: np.array(["a", "b"]), "must be numbers of shape"),
    (Discrete(3), lambda: np.int64(7), r"must be an integer in 0 .. 2, got .*7"),
    (Discrete(3, start=2), lambda: 1, "must be an integer in 2 .. 4"),
    (Discrete(3), lambda: 1.0, "must be an integer in"),
    (MultiBinary(2), lambda: np.array([0, 2], np.int8), "must lie in MultiBinary"),
    (MultiDiscrete([2, 2], start=[1, 5]), lambda: np.array([0, 5]), "must lie in MultiDiscrete"),
    (MultiDiscrete([3, 9]), lambda: np.array([0.5, 1.0]), r"must lie in MultiDiscrete.*got \[0.5, 1.0\]"),
    (Box(0, 9, (2,), np.int32), lambda: np.array([3, 10]), r"must lie in Box\(0, 9, .*, got \[3, 10\]"),
    (Box(-1, 9, (2,), np.int64), lambda: np.array([-2, 0]), r"must lie in Box\(-1, 9, "),
    (Box(0, 255, (2,), np.uint8), lambda: np.array([0.5, 0.25]), r"must lie in Box\(0, 255, .*, got \[0.5, 0.25\]"),
    (Box(0, 9, (20,), np.int32), lambda: np.arange(20), r"got \[10, 11, 12\] among 20 numbers"),
    (Box(-9.0, 9.0, (20,)), lambda: np.full(20, 1e39), r"got \[1e\+39, 1e\+39, 1e\+39\] among 20 numbers"),
    (NESTED, lambda: nested(where=(np.nan, 0.0)), r"observation\['where'\] at step 2"),
    (NESTED, lambda: nested(number=0), r"observation\['inner'\]\[0\] at step 2 .* must be an integer in 1 .. 4"),
    (NESTED, lambda: nested(flags=(0, 3)), r"observation\['inner'\]\[1\]"),
    (NESTED, lambda: nested(cells=(0, 3)), r"observation\['inner'\]\[2\]"),
    (NESTED, lambda: {"where": np.zeros(2)}, "must be a dict with 'inner', 'where'"),
    (NESTED, lambda: {"where": np.zeros(2), "inner": ()}, r"must be a tuple of 3"),
]
FIRST = {
    Discrete: 2,
    MultiBinary: np.zeros(2, np.int8),
    MultiDiscrete: np.array([1, 5]),
    Dict: nested(),
}


@pytest.mark.parametrize(("space", "wrong", "message"), WRONG)
def test_an_observation_that_does_not_fit_is_one_sentence(space, wrong, message):
    first = np.zeros(space.shape, space.dtype) if isinstance(space, Box) else FIRST[type(space)]
    kind = scripted(space, observe=lambda step: wrong() if step == 2 else first)
    envs = make_vec(kind, 2, seed=40)
    envs.reset()
    envs.step(np.zeros(2, int))
    with pytest.raises(ValueError, match=message) as caught:
        envs.step(np.zeros(2, int))
    assert str(caught.value).startswith("Scripted: the observation")


class OldReset(Scripted):
    """As in the first years of gym."""

    def reset(self):
        self.count = 0
        return np.zeros(2)


class OldSignature(Scripted):
    def reset(self, seed=None):
        self.count = 0
        return np.zeros(2), {}


class ResetWithoutInfo(Scripted):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class OldStep(Scripted):
    def step(self, action):
        return np.zeros(2), np.ones(2), False, {}


class NothingFromStep(Scripted):
    def step(self, action):
        return None


class InfoIsNoDict(Scripted):
    def step(self, action):
        return np.zeros(2), np.ones(2), False, False, None


@pytest.mark.parametrize("backend", [None, "processes"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (OldReset, "OldReset: its reset must take seed= and options=.*takes no seed and no options"),
        (OldSignature, "OldSignature: its reset must take seed= and options=.*takes no options"),
        (ResetWithoutInfo, r"ResetWithoutInfo: the result of reset .* must be \(observation, info\), got array"),
        (OldStep, "OldStep: the result of step at step 1 .* must be .*, got 4 values"),
        (NothingFromStep, "NothingFromStep: the result of step at step 1 .*, got None"),
        (InfoIsNoDict, "InfoIsNoDict: the result of step at step 1 .*, got 5 values"),
    ],
)
def test_an_environment_of_another_api_is_one_sentence_with_its_name(kind, message, backend):
    def use():
        with closing(make_vec(kind, 1, seed=0, backend=backend)) as envs:
            envs.reset()
            envs.step(np.zeros(1, int))

    with pytest.raises(ValueError, match=message):
        use()
    with pytest.raises(ContractViolation, match=kind.__name__):
        check_env(kind)


def test_a_first_observation_is_checked_too_and_check_env_says_so():
    kind = scripted(observe=lambda step: np.full(2, np.nan) if step == 0 else np.zeros(2))
    with pytest.raises(ValueError, match="the observation at step 0 of environment 0, seed 3 must be finite"):
        make_vec(kind, 1, seed=3).reset()
    with pytest.raises(ContractViolation, match="observation"):
        check_env(kind)


def test_check_env_refuses_what_float32_cannot_hold():
    kind = scripted(observe=lambda step: np.array([step, 1e300]))
    with pytest.raises(ContractViolation, match="must be finite in float32"):
        check_env(kind)


class SickKernel(KernelVectorEnv):
    """Its observation is not finite from the third step on in the second environment."""

    def __init__(self, num_envs=1, max_episode_steps=None):
        super().__init__(num_envs, PLAIN, Discrete(2), Box(0, 1, (2,)), max_episode_steps)
        self.arrays = {"count": np.zeros(num_envs)}

    def _start(self, mask, observations):
        self.arrays["count"][mask] = 0
        observations[mask] = 0

    def _advance(self, actions, observations, rewards, terminated):
        self.arrays["count"] += 1
        observations[:] = 0
        if self.arrays["count"][0] == 3:
            observations[1, 0] = 1e39
        terminated[:] = False


def test_kernels_check_observations():
    envs = make_vec(SickKernel, num_envs=2, seed=0)
    envs.reset()
    envs.step(np.zeros(2, int))
    envs.step(np.zeros(2, int))
    with pytest.raises(ValueError, match=r"the observation at step 3 of the episode of environment 1 must be finite"):
        envs.step(np.zeros(2, int))


class Many(SyncVectorEnv):
    """A vector environment of Gymnasium's that returns its own arrays each time."""

    kind = Scripted

    def __init__(self, num_envs):
        super().__init__([self.kind] * num_envs, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
        self.reward_space = Scripted.reward_space
        self._rewards = np.zeros((num_envs, 2))


def test_vector_environments_of_others_are_checked_and_copied():
    envs = make_vec(Many, 2, seed=0)
    first = envs.reset()[0]
    second = envs.step(np.zeros(2, int))[0]
    np.testing.assert_array_equal(first, 0)
    np.testing.assert_array_equal(second, 1)
    sick = scripted(observe=lambda step: np.full(2, np.nan) if step == 2 else np.zeros(2))
    envs = make_vec(type("Many", (Many,), {"kind": sick}), 2, seed=0)
    envs.reset()
    envs.step(np.zeros(2, int))
    with pytest.raises(ValueError, match="Many: the observation at step 2 of environment 0 must be finite"):
        envs.step(np.zeros(2, int))


class Reuse(Scripted):
    """Returns the same arrays each time: observation, reward and info."""

    observation_space = Dict({"a": PLAIN, "b": Tuple((PLAIN,))})

    def __init__(self):
        self.seen = np.zeros(2)
        self.paid = np.zeros(2)
        self.told = {"note": np.zeros(2)}

    def out(self):
        return {"a": self.seen, "b": (self.seen,)}

    def reset(self, *, seed=None, options=None):
        self.count = 0
        self.seen[:] = self.told["note"][:] = 0
        return self.out(), self.told

    def step(self, action):
        self.count += 1
        self.seen += 1
        self.paid += 1
        self.told["note"] += 1
        return self.out(), self.paid, self.count == 3, False, self.told


@pytest.mark.parametrize("backend", ["synchronous", "processes"])
def test_an_environment_may_return_the_same_arrays_each_time(backend):
    envs = make_vec(Reuse, 2, seed=0, backend=backend)
    try:
        envs.reset()
        kept = [envs.step(np.zeros(2, int)) for _ in range(3)]
        assert [step[0]["a"][0, 0] for step in kept] == [1, 2, 0]
        assert [step[0]["b"][0][1, 1] for step in kept] == [1, 2, 0]
        assert [step[1][0, 0] for step in kept] == [1, 2, 3]
        assert kept[2][4]["final_obs"][0]["a"].tolist() == kept[2][4]["final_obs"][1]["b"][0].tolist() == [3, 3]
        assert kept[2][4]["final_info"]["note"].tolist() == [[3, 3], [3, 3]]
        assert kept[0][4]["note"].tolist() == [[1, 1], [1, 1]]
    finally:
        envs.close()


def test_leaves_of_other_spaces_pass():
    kind = scripted(Dict({"text": Text(5), "place": PLAIN}), observe=lambda step: {"text": "ab", "place": np.zeros(2)})
    envs = make_vec(kind, 2, seed=0)
    assert envs.reset()[0]["text"] == ("ab", "ab")


MASK = np.array([1, 1, 0], np.int8)


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda step: {"action_mask": MASK} if step == 0 else {}, "must be in every info or in none"),
        (lambda step: {} if step == 0 else {"action_mask": MASK}, "must be in every info or in none"),
        (lambda step: {"action_mask": MASK * (step != 2)}, "must allow at least one action, got zeros only"),
        (lambda step: {"action_mask": MASK.tolist()[:2]}, r"must be an array of 3 zeros and ones, got \[1, 1\]"),
        (lambda step: {"action_mask": [2, 1, 0]}, r"must be an array of 3 zeros and ones, got \[2, 1, 0\]"),
        (lambda step: {"action_mask": MASK[:2]}, "must be an array of 3 zeros and ones"),
        (lambda step: {"action_mask": MASK * 2}, "must be an array of 3 zeros and ones"),
        (lambda step: {"action_mask": MASK / 2}, "must be an array of 3 zeros and ones"),
        (lambda step: {"action_mask": None}, "must be an array of 3 zeros and ones"),
    ],
)
@pytest.mark.parametrize("backend", ["synchronous", "processes"])
def test_a_mask_that_is_missing_or_wrong_is_one_sentence(tell, message, backend):
    envs = make_vec(scripted(tell=tell), 2, seed=0, backend=backend)
    try:
        with pytest.raises(ValueError, match=rf"Scripted: the info\['action_mask'\] at step .* {message}"):  # noqa: PT012
            envs.reset()
            for _ in range(3):
                envs.step(np.zeros(2, int))
    finally:
        envs.close()
    with pytest.raises(ContractViolation, match=message):
        check_env(scripted(tell=tell))


@pytest.mark.parametrize("backend", ["synchronous", "processes"])
def test_a_mask_that_is_a_list_becomes_an_array(backend):
    envs = make_vec(scripted(tell=lambda step: {"action_mask": MASK.tolist()}), 2, seed=0, backend=backend)
    try:
        for infos in (envs.reset()[1], envs.step(np.zeros(2, int))[4]):
            np.testing.assert_array_equal(infos["action_mask"], [MASK, MASK])
            assert infos["action_mask"].dtype.kind == "i"
    finally:
        envs.close()


def test_the_step_that_terminates_may_do_without_a_mask():
    for last in ({}, {"action_mask": 0 * MASK}):
        envs = make_vec(scripted(tell=lambda step, last=last: last if step == 5 else {"action_mask": MASK}), 2, seed=0)
        envs.reset()
        for _ in range(12):
            infos = envs.step(np.zeros(2, int))[4]
            assert infos["_action_mask"].all()


# --- time limits ---


@pytest.mark.parametrize("limit", [3, 300, np.int64(4), -1, None])
def test_a_time_limit_of_the_user_holds_on_every_backend(limit):
    lengths = []
    for backend in (None, "synchronous"):
        envs = make_vec("mo-mountaincar-v0", 1, seed=0, backend=backend, max_episode_steps=limit)
        envs.reset()
        length = 0
        truncated = np.zeros(1, bool)
        while not truncated[0] and length < 400:
            truncated = envs.step(np.ones(1, int))[3]
            length += 1
        lengths.append(length)
    assert lengths == [400 if limit in (-1, None) else limit] * 2
    assert episode_limit("mo-mountaincar-v0", max_episode_steps=limit) == (None if limit in (-1, None) else limit)
    assert episode_limit("mo-mountaincar-v0") == 200


def test_the_specification_of_a_batch_has_the_limit_of_the_user():
    assert make_vec("mo-mountaincar-v0", 1, max_episode_steps=500).spec.max_episode_steps == 500
    assert make_vec("mo-mountaincar-v0", 1, max_episode_steps=-1).spec.max_episode_steps is None
    assert make_vec("mo-mountaincar-v0", 1).spec.max_episode_steps == 200


@pytest.mark.parametrize("limit", [0, -2, 2.5, True, "many"])
@pytest.mark.parametrize("backend", [None, "synchronous", "processes"])
def test_a_wrong_time_limit_is_one_sentence_on_every_backend(limit, backend):
    message = "mo-mountaincar-v0: max_episode_steps must be a positive integer, or None or -1 for no limit, got"
    with pytest.raises(ValueError, match=message):
        make_vec("mo-mountaincar-v0", 1, backend=backend, max_episode_steps=limit)
    with pytest.raises(ValueError, match=message):
        make("mo-mountaincar-v0", max_episode_steps=limit)


@pytest.mark.parametrize(
    ("env_id", "limit", "points"),
    [
        ("deep-sea-treasure-v0", 4, 2),
        ("deep-sea-treasure-v0", -1, 10),
        ("deep-sea-treasure-concave-v0", 1, 1),
        ("fruit-tree-v0", 5, 1),
        ("fruit-tree-v0", 6, 64),
        ("resource-gathering-v0", 3, 1),
        ("resource-gathering-v0", None, 3),
    ],
)
def test_known_fronts_keep_to_the_time_limit(env_id, limit, points):
    front = problem(env_id, max_episode_steps=limit).known_front(0.99)
    assert len(front) == points
    if limit and limit > 0 and "treasure" in env_id:
        assert -front[:, 1].min() <= sum(0.99**step for step in range(limit)) + 1e-9


def test_a_batch_form_of_the_user_gets_the_limit_too():
    if "test-sick-v0" not in gymnasium.registry:
        register("test-sick-v0", vector_entry_point=SickKernel, objectives=("a", "b"), max_episode_steps=2)
    assert make_vec("test-sick-v0", 1).limit == 2
    assert make_vec("test-sick-v0", 1, max_episode_steps=7).limit == 7
    assert make_vec("test-sick-v0", 1, max_episode_steps=-1).limit > 10**6


class Licensed(Scripted):
    """Knows how many of its kind are alive."""

    alive: set[int] = set()  # noqa: RUF012
    most = 0

    def __init__(self):
        self.alive.add(id(self))
        Licensed.most = max(self.most, len(self.alive))

    def __reduce__(self):
        return Licensed, ()

    def close(self):
        self.alive.discard(id(self))


class Silent(Licensed):
    """Has no reward space: its rewards must be looked at."""

    reward_space = property()  # an attribute that raises AttributeError, as one that is not there

    def __reduce__(self):
        return Silent, ()


def test_check_env_closes_what_it_opens():
    check_env(Licensed)
    assert not Licensed.alive
    assert Licensed.most <= 2  # one, and a bystander while a state is restored


def test_a_probe_for_the_length_of_rewards_is_closed():
    envs = make_vec(Silent, 3)
    assert len(Silent.alive) == 3
    envs.close()
    assert not Silent.alive


def test_building_and_stating_the_problem_keep_one_alive():
    Licensed.most = 0
    problem(Licensed)
    make_vec(Licensed, 1).close()
    assert Licensed.most == 1


@pytest.mark.parametrize("reward", [np.array([1j, 0.0]), np.array(["a", "b"]), [1.0, [2.0]], None, {"a": 1.0}])
def test_rewards_that_are_no_real_numbers_are_one_sentence(reward):
    class Odd(Scripted):
        def step(self, action):
            return np.zeros(2), reward, False, False, {}

    envs = make_vec(Odd, 1, seed=0)
    envs.reset()
    with pytest.raises(ValueError, match=r"Odd: the reward at step 1 of environment 0, seed 0 must be 2 .*numbers"):
        envs.step(np.zeros(1, int))
