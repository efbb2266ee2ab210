"""Reading action masks: from infos of every form, or one sentence; random choices among the allowed ones."""

from typing import Any

import gymnasium
import masked
import numpy as np
import pytest
from gymnasium import spaces

import morl
from morl.action_masks import MaskReader, mask_array, num_choices, random_choices
from morl.envs import check_env
from morl.envs.core.registry import problem
from morl.evaluation import ActInputs, Evaluator

THREE = spaces.Discrete(3)
NONE = np.zeros(2, dtype=np.bool_)


@pytest.mark.parametrize("mask", [[1, 0, 1], np.array([1, 0, 1], np.int8), np.array([1.0, 0.0, 1.0]), (True, False, 1)])
def test_masks_of_every_form_are_arrays(mask: Any) -> None:
    np.testing.assert_array_equal(mask_array(mask, (3,)), [1, 0, 1])


@pytest.mark.parametrize("mask", [None, [1, 0], [1, 0, 2], [1, 0, 0.5], "101", [[1, 0, 1]], [1, 0, np.nan], 1])
def test_other_masks_are_refused(mask: Any) -> None:
    with pytest.raises(ValueError, match="must be an array of 3 zeros and ones, got"):
        mask_array(mask, (3,))


def test_only_choices_can_be_masked() -> None:
    assert num_choices(spaces.Discrete(4, start=2)) == 4
    for space in (spaces.Box(-1, 1, (2,)), spaces.MultiBinary(3), spaces.MultiDiscrete([2, 2])):
        assert num_choices(space) == 0
        with pytest.raises(ValueError, match="only the choices of a Discrete space can be masked"):
            MaskReader("x-v0", space).reset({"action_mask": np.ones((2, 3))})


def test_a_reader_keeps_to_what_the_first_infos_had() -> None:
    masks = {"action_mask": np.array([[1, 0, 0], [1, 1, 0]], np.int8)}
    reader = MaskReader("x-v0", THREE)
    np.testing.assert_array_equal(reader.reset(masks), [[True, False, False], [True, True, False]])
    assert reader.step(masks, NONE, NONE) is not None
    with pytest.raises(ValueError, match=r"x-v0: info\['action_mask'\] of environment 0, 2 steps after .* got none"):
        reader.step({}, NONE, NONE)
    plain = MaskReader("x-v0", THREE)
    assert plain.reset({}) is None
    assert plain.step({}, NONE, NONE) is None
    with pytest.raises(ValueError, match="the first had none, got one"):
        plain.step(masks, NONE, NONE)


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ({"action_mask": np.zeros((2, 3))}, "of environment 0, 0 steps .* at least one action, got zeros only"),
        ({"action_mask": np.array([[1, 0, 0], [0, 0, 0]])}, "of environment 1, .* got zeros only"),
        ({"action_mask": np.ones((2, 4))}, "must be an array of 2 x 3 zeros and ones, got"),
        ({"action_mask": 2 * np.ones((2, 3))}, "must be an array of 2 x 3 zeros and ones, got"),
        ({"action_mask": np.ones((2, 3)), "_action_mask": np.array([True, False])}, "of environment 1, .* got none"),
        ({"action_mask": np.array([[1, 1, 1], None], dtype=object)}, "zeros and ones, got"),
    ],
)
def test_a_wrong_mask_is_one_sentence(infos: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskReader("x-v0", THREE).reset(infos)


def test_lists_of_a_vector_environment_are_converted() -> None:
    listed = np.full(2, None, dtype=object)
    listed[0] = [1, 0, 0]
    listed[1] = [0, 1, 1]
    for masks in (listed, [[1, 0, 0], [0, 1, 1]]):
        np.testing.assert_array_equal(MaskReader("x-v0", THREE).reset({"action_mask": masks}), [[1, 0, 0], [0, 1, 1]])


def test_the_last_states_of_episodes_have_masks_of_their_own() -> None:
    reader = MaskReader("x-v0", THREE, given=True)
    terminated = np.array([False, True, False, True])
    truncated = np.array([True, False, False, True])
    last = np.zeros((4, 3), np.int8)
    last[0] = [0, 0, 1]
    current = np.array([[1, 0, 0]] * 4)
    infos = {"action_mask": current, "final_info": {"action_mask": last, "_action_mask": truncated & ~terminated}}
    masks = reader.step(infos, terminated, truncated)
    assert masks is not None
    np.testing.assert_array_equal(masks.current, current)
    np.testing.assert_array_equal(masks.following, [[0, 0, 1], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
    del infos["final_info"]
    with pytest.raises(ValueError, match=r"final_info\['action_mask'\] of environment 0"):
        reader.step(infos, terminated, truncated)


def test_random_choices_are_uniform_among_the_allowed() -> None:
    uniform = np.random.default_rng(0).random(9_000)
    np.testing.assert_array_equal(random_choices(uniform, 3), (uniform * 3).astype(np.int64))
    masks = np.tile([True, False, True, True], (9_000, 1))
    counts = np.bincount(random_choices(uniform, 4, masks), minlength=4)
    assert counts[1] == 0
    assert (np.abs(counts[[0, 2, 3]] - 3_000) < 200).all()
    edges = np.array([0.0, np.nextafter(1.0, 0.0)])
    assert random_choices(edges, 4, masks[:2]).tolist() == [0, 3]


@pytest.mark.parametrize("backend", [None, "synchronous", "processes"])
@pytest.mark.parametrize("env", [masked.MaskedWalk, masked.ListedWalk, "toy-slope-v0"])
def test_every_backend_carries_masks(env: Any, backend: Any) -> None:
    stated = problem(env)
    assert stated.action_masks
    envs = morl.make_vec(env, 3, seed=0, backend=backend)
    reader = MaskReader(stated.id, stated.action_space, stated.action_masks)
    random = np.random.default_rng(0)
    try:
        allowed = reader.reset(envs.reset()[1])
        cut = 0
        for _ in range(60):
            assert allowed is not None
            chosen = random_choices(random.random(3), reader.choices, allowed)
            *_, terminated, truncated, infos = envs.step(chosen + int(stated.action_space.start))
            masks = reader.step(infos, terminated, truncated)
            assert masks is not None
            allowed = masks.current
            only = truncated & ~terminated
            cut += only.sum()
            assert masks.following[~only & terminated].all()
        assert cut > 3
    finally:
        envs.close()


def test_environments_without_masks_are_known() -> None:
    assert not problem("deep-sea-treasure-v0").action_masks
    assert problem("server-queues-v0").action_masks

    class Broken(masked.MaskedWalk):
        def reset(self, **arguments: Any) -> Any:
            raise RuntimeError("not now")

    assert not problem(Broken).action_masks  # what is wrong is for training, or check_env, to say


def test_check_env_draws_allowed_actions() -> None:
    check_env(masked.MaskedWalk)
    check_env(masked.ListedWalk)
    check_env("toy-slope-v0")


def test_check_env_compares_the_masks_of_the_two_forms() -> None:
    with pytest.raises(ValueError, match=r"infos\['action_mask'\] of the batch form must equal"):
        check_env("toy-slope-v0", wrong=True)


def test_an_evaluation_needs_policies_that_take_masks() -> None:
    def lowest_allowed(observations: Any, preferences: Any, policies: Any, masks: Any = None) -> Any:
        return masks.argmax(axis=1) - 1

    evaluate = Evaluator(lambda count: morl.make_vec(masked.MaskedWalk, count), 0.9, 8, 100)
    rows = np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5)
    assert np.isfinite(evaluate(lowest_allowed, *rows, 4, 0, ActInputs(masks=True)).discounted).all()
    with pytest.raises(ValueError, match="gives action masks, but the policies to be evaluated take none"):
        evaluate(lowest_allowed, *rows, 4, 0)


def test_a_vector_environment_of_the_user_is_read_too() -> None:
    class Wrong(masked.SlopeKernel):
        def _infos(self) -> dict[str, Any]:
            return {"action_mask": np.zeros((self.num_envs, 2), np.int8)}

    class Foreign(gymnasium.vector.VectorWrapper):
        @property
        def reward_space(self) -> Any:
            return self.env.unwrapped.reward_space

    for kind, fault in ((masked.SlopeKernel, None), (Wrong, "got zeros only")):
        envs = morl.make_vec(lambda num_envs, kind=kind: Foreign(kind(num_envs)), 2, seed=0)
        if fault is None:
            envs.reset()
            for step in range(8):
                envs.step(np.full(2, 1 - step % 2))
            continue
        with pytest.raises(ValueError, match=fault):
            envs.reset()
