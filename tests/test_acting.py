"""Policies act from their files alone: every head, every kind of space, in batches as one by one."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.acting import Policy, PolicyBank, load_policy
from morl.policy_files import PolicyData, PolicySpec
from morl.policy_networks import PolicyNetwork
from morl.utilities import tchebycheff

CPU = torch.device("cpu")
CHOICE = spaces.Discrete(4, start=2)
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 10.0], np.float32))
OBSERVATIONS: dict[str, gymnasium.Space[Any]] = {
    "box": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "matrix": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    "integers": spaces.Box(0, 5, (2,), np.int64),
    "discrete": spaces.Discrete(5, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 3], start=[1, 0]),
    "multi-binary": spaces.MultiBinary(3),
    "dict": spaces.Dict({"z": spaces.Box(-1.0, 1.0, (2,)), "a": spaces.Discrete(2)}),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.Dict({"x": spaces.MultiBinary(2)}))),
}
HEADS: dict[str, gymnasium.Space[Any]] = {
    "deterministic": BOX,
    "squashed-gaussian": BOX,
    "gaussian": BOX,
    "categorical": CHOICE,
    "action-values": CHOICE,
}


def spec_of(head: Any, **changes: Any) -> PolicySpec:
    fields: dict[str, Any] = {
        "agent": "test",
        "head": head,
        "hidden_sizes": (8,),
        "observation_space": OBSERVATIONS["box"],
        "action_space": HEADS[head],
        "objectives": ("speed", "energy"),
    }
    return PolicySpec(**fields | changes)


def data_of(spec: PolicySpec, seed: int = 0, normalized: bool = False) -> PolicyData:
    network = PolicyNetwork(spec)
    count = network.network.num_parameters + network.num_log_stds
    random = np.random.default_rng(seed)
    return PolicyData(
        spec=spec,
        parameters=torch.as_tensor(random.normal(size=count), dtype=torch.float32),
        mean=random.normal(size=network.row_width) if normalized else None,
        scale=random.uniform(0.5, 2.0, size=network.row_width) if normalized else None,
        preference=np.array([0.25, 0.75]),
        bounds=np.array([[-1.0, -1.0], [1.0, 2.0]]) if spec.utility != "linear" else None,
    )


def observations_of(space: gymnasium.Space[Any], count: int, seed: int = 0) -> Any:
    batched = batch_space(space, count)
    batched.seed(seed)
    return batched.sample()


def row(batch: Any, index: int) -> Any:
    match batch:
        case dict():
            return {key: row(part, index) for key, part in batch.items()}
        case tuple():
            return tuple(row(part, index) for part in batch)
    return batch[index]


@pytest.mark.parametrize("kind", OBSERVATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_a_file_is_all_that_acting_needs(head: str, kind: str, tmp_path: Path) -> None:
    space = OBSERVATIONS[kind]
    policy = Policy(data_of(spec_of(head, observation_space=space, one_hot=True)), np.array([0.5, 0.5]))
    policy.save(tmp_path / "policy.pt")
    loaded = load_policy(tmp_path / "policy.pt")
    batch = observations_of(space, 7)
    actions, _ = policy.predict(batch)
    np.testing.assert_array_equal(loaded.predict(batch)[0], actions)
    assert loaded.data.spec == policy.data.spec
    assert loaded.preference.tolist() == [0.5, 0.5]
    assert loaded.conditioning.tolist() == [0.25, 0.75]
    for index in range(7):
        single, _ = loaded.predict(row(batch, index))
        assert HEADS[head].contains(single if head in ("categorical", "action-values") else np.asarray(single))
        np.testing.assert_allclose(single, actions[index], rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    head=st.sampled_from(sorted(HEADS)),
    owners=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    normalized=st.booleans(),
    conditioned=st.booleans(),
)
def test_a_bank_acts_for_many_policies_as_each_does_alone(
    head: str, owners: list[int], normalized: bool, conditioned: bool
) -> None:
    spec = spec_of(head, conditioned=conditioned)
    bank = PolicyBank(spec, CPU)
    for number in range(4):
        bank.add(10 * number, data_of(spec, seed=number, normalized=normalized))
    batch = observations_of(spec.observation_space, len(owners))
    preferences = np.random.default_rng(1).dirichlet([1.0, 1.0], size=len(owners))
    together = bank.act(batch, preferences, 10 * np.array(owners))
    for index, owner in enumerate(owners):
        alone = PolicyBank(spec, CPU)
        alone.add(0, bank[10 * owner])
        action = alone.act(batch[index : index + 1], preferences[index : index + 1], np.zeros(1, dtype=np.int64))
        np.testing.assert_allclose(together[index], action[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["deterministic", "action-values"])
def test_a_deterministic_policy_refuses_to_sample(head: str) -> None:
    policy = Policy(data_of(spec_of(head)), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=f"deterministic is False.*{head}"):
        policy.predict(np.zeros(3, np.float32), deterministic=False)


@pytest.mark.parametrize("head", ["squashed-gaussian", "gaussian", "categorical"])
def test_a_stochastic_policy_samples_from_its_distribution(head: str) -> None:
    policy = Policy(data_of(spec_of(head)), np.array([0.5, 0.5]))
    batch = np.zeros((500, 3), np.float32)
    first, _ = policy.predict(batch, deterministic=False)
    again, _ = policy.predict(batch, deterministic=False)
    assert len(np.unique(first, axis=0)) > 1
    assert not np.array_equal(first, again)
    policy.seed(0)
    np.testing.assert_array_equal(policy.predict(batch, deterministic=False)[0], first)


def test_samples_of_a_categorical_policy_have_its_probabilities() -> None:
    data = data_of(spec_of("categorical", hidden_sizes=()))
    data.parameters.zero_()
    data.parameters[-4:] = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    actions, _ = Policy(data, np.array([0.5, 0.5])).predict(np.zeros((20_000, 3), np.float32), deterministic=False)
    np.testing.assert_allclose(np.bincount(actions - 2) / 20_000, [0.1, 0.2, 0.3, 0.4], atol=0.015)


@pytest.mark.parametrize("head", ["categorical", "action-values"])
@pytest.mark.parametrize("allowed", range(4))
def test_masked_choices_are_not_taken(head: str, allowed: int) -> None:
    policy = Policy(data_of(spec_of(head)), np.array([0.5, 0.5]))
    masks = np.zeros((5, 4), dtype=np.int8)
    masks[:, allowed] = 1
    actions, _ = policy.predict(observations_of(OBSERVATIONS["box"], 5), action_masks=masks)
    assert (actions == 2 + allowed).all()


def test_masks_need_choices() -> None:
    policy = Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="action_masks"):
        policy.predict(np.zeros(3, np.float32), action_masks=np.ones(2))


def test_a_conditioned_network_acts_for_the_preference_of_each_row() -> None:
    bank = PolicyBank(spec_of("deterministic", conditioned=True), CPU)
    bank.add(0, data_of(bank.spec))
    actions = bank.act(np.zeros((2, 3), np.float32), np.eye(2), np.zeros(2, dtype=np.int64))
    assert not np.array_equal(actions[0], actions[1])


def test_an_ensemble_acts_on_the_mean_of_its_action_values() -> None:
    # Without hidden layers the mean of two networks is the network with their mean parameters.
    single = spec_of("action-values", hidden_sizes=(), conditioned=True)
    first, second = (data_of(single, seed).parameters for seed in (1, 2))
    mean = replace(data_of(single), parameters=(first + second) / 2)
    ensemble = spec_of("action-values", hidden_sizes=(), conditioned=True, ensemble=2)
    pair = replace(mean, spec=ensemble, parameters=torch.cat([first, second]))
    observations = observations_of(single.observation_space, 50)
    preferences = np.random.default_rng(0).dirichlet(np.ones(2), 50)
    acted = []
    for data in (mean, pair, replace(mean, parameters=first)):
        bank = PolicyBank(data.spec, CPU)
        bank.add(0, data)
        acted.append(bank.act(observations, preferences, np.zeros(50, dtype=np.int64)))
    np.testing.assert_array_equal(acted[0], acted[1])
    assert not np.array_equal(acted[0], acted[2])
    with pytest.raises(ValueError, match="parameters"):
        PolicyBank(ensemble, CPU).add(0, mean)


def test_action_values_are_weighed_by_the_utility_and_the_accrued_reward() -> None:
    spec = spec_of(
        "action-values",
        hidden_sizes=(),
        utility="tchebycheff",
        utility_of_shares=True,
        augmented_units=(2.0, 4.0),
        action_space=spaces.Discrete(2),
    )
    data = data_of(spec)
    data.parameters.zero_()
    data.parameters[-4:] = torch.tensor([1.0, 0.0, 0.0, 1.0])  # Q(s, 0) = (1, 0), Q(s, 1) = (0, 1)
    policy = Policy(data, np.array([0.5, 0.5]))
    observation = np.zeros(3, np.float32)
    for accrued in ([0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.0, 3.0, 0.1]):
        returns = np.array(accrued[:2]) + accrued[2] * np.eye(2)
        lowest, ideal = data.bounds if data.bounds is not None else (None, None)
        shares = (returns - lowest) / (ideal - lowest)
        utilities = tchebycheff(shares, data.preference, np.ones(2))
        action, state = policy.predict(observation, state=np.array(accrued))
        assert action == utilities.argmax()
        assert state is not None


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.pt"
    Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5])).save(file)
    content = torch.load(file, weights_only=True)
    for name in ("spec", "parameters", "preference", "wanted"):
        changed = dict(content)
        value = content[name]
        changed[name] = value.replace("relu", "tanh") if isinstance(value, str) else value + 1.0
        torch.save(changed, file)
        with pytest.raises(ValueError, match="SHA-256"):
            load_policy(file)
    for old in ({"actor": torch.zeros(3)}, [1, 2]):
        torch.save(old, file)
        with pytest.raises(ValueError, match="it is no policy file"):
            load_policy(file)
    file.write_bytes(b"PK" + bytes(100))
    with pytest.raises(ValueError, match="missing or damaged"):
        load_policy(file)
    with pytest.raises(ValueError, match="missing or damaged"):
        load_policy(tmp_path / "nothing.pt")


def test_arrays_must_fit_the_specification() -> None:
    data = data_of(spec_of("gaussian"))
    for changed in (
        replace(data, parameters=data.parameters[:-1]),
        replace(data, preference=np.ones(3)),
        replace(data, mean=np.zeros(3)),
        replace(data, bounds=np.zeros((2, 3))),
    ):
        with pytest.raises(ValueError, match="have shape"):
            Policy(changed, np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="does not fit actions"):
        Policy(data_of(spec_of("gaussian", action_space=CHOICE)), np.array([0.5, 0.5]))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (2, 2, 3), (3, 3, 3)])
def test_an_observation_of_the_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    policy = Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="observation has shape"):
        policy.predict(np.zeros(shape, np.float32))


@pytest.mark.parametrize("wrong", [np.zeros(3), {"z": np.zeros(2)}, {"q": 1, "a": 2}, None])
def test_an_observation_of_another_kind_is_named(wrong: Any) -> None:
    policy = Policy(data_of(spec_of("gaussian", observation_space=OBSERVATIONS["dict"])), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="observation"):
        policy.predict(wrong)


NO_OBSERVATION = [
    ("integers", np.array([0, 6]), r"must lie between \[0, 0\] and \[5, 5\]"),
    ("integers", np.array([[0, 1], [-1, 0]]), r"must lie between \[0, 0\] and \[5, 5\]"),
    ("integers", np.array([0.5, 1.0]), r"must be whole numbers of the space Box\(0, 5,"),
    ("box", np.array([0.0, np.inf, 0.0]), "must be finite numbers"),
    ("box", [[0.0, 1.0, 2.0], [3.0]], "must be numbers of the space"),
    ("matrix", np.full((2, 2), 1e39), "must be finite numbers"),
    ("discrete", 4, r"must lie between -1 and 3"),
    ("discrete", 1.5, r"must be whole numbers of the space Discrete\(5, start=-1\)"),
    ("discrete", np.nan, "must be finite numbers"),
    ("multi-discrete", np.array([1, 3]), r"must lie between \[1, 0\] and \[2, 2\]"),
    ("multi-discrete", np.array([1.5, 0.0]), "must be whole numbers"),
    ("multi-binary", np.array([0, 1, 2]), "must lie between 0 and 1"),
    ("multi-binary", np.array([0, 1, 0.5]), "must be whole numbers"),
    ("tuple", (1, {"x": np.array([0, -1])}), r"^observation\[1\]\['x'\] is .* must lie between 0 and 1"),
]


@pytest.mark.parametrize(("kind", "wrong", "message"), NO_OBSERVATION)
def test_numbers_that_the_space_does_not_have_are_refused(kind: str, wrong: Any, message: str) -> None:
    policy = Policy(data_of(spec_of("gaussian", observation_space=OBSERVATIONS[kind])), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=message):
        policy.predict(wrong)


@pytest.mark.parametrize(
    ("kind", "unusual"),
    [
        ("box", np.array([1.2, -3.0, 50.0])),  # environments leave the bounds of floats
        ("integers", np.array([5.0, 0.0])),
        ("discrete", np.float32(3.0)),
        ("multi-binary", np.array([True, False, True])),
    ],
)
def test_unusual_observations_that_mean_something_are_accepted(kind: str, unusual: Any) -> None:
    policy = Policy(data_of(spec_of("gaussian", observation_space=OBSERVATIONS[kind])), np.array([0.5, 0.5]))
    assert BOX.contains(policy.predict(unusual)[0])


@pytest.mark.parametrize("state", [np.array([0.0, np.nan, 1.0]), np.zeros(2), np.zeros((2, 3))])
def test_an_accrued_reward_that_is_none_is_refused(state: Any) -> None:
    policy = Policy(data_of(spec_of("action-values", augmented_units=(1.0, 1.0))), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"^state .* must be "):
        policy.predict(np.zeros(3, np.float32), state=state)


def test_a_custom_utility_is_imported_by_acting_and_not_by_reading(tmp_path: Path) -> None:
    spec = spec_of("action-values", utility="nowhere_at_all:utility")
    file = tmp_path / "policy.pt"
    Policy(data_of(spec), np.array([0.5, 0.5])).save(file)
    with pytest.raises(ValueError, match=r"nowhere_at_all.*trust=True"):
        load_policy(file)
    loaded = load_policy(file, trust=True)
    with pytest.raises(ValueError, match="nowhere_at_all"):
        loaded.predict(np.zeros(3, np.float32))
    given_here = load_policy(file, utility=tchebycheff)
    assert CHOICE.contains(given_here.predict(np.zeros(3, np.float32))[0])


def test_lists_are_observations_too() -> None:
    policy = Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5]))
    one = policy.predict(np.array([0.1, 0.2, 0.3], np.float32))[0]
    np.testing.assert_array_equal(policy.predict([0.1, 0.2, 0.3])[0], one)
    np.testing.assert_array_equal(policy.predict([[0.1, 0.2, 0.3]] * 2)[0], np.stack([one, one]))


@pytest.mark.parametrize("kind", OBSERVATIONS)
@pytest.mark.parametrize("head", ["gaussian", "categorical"])
def test_an_empty_batch_has_no_actions(head: str, kind: str) -> None:
    policy = Policy(data_of(spec_of(head, observation_space=OBSERVATIONS[kind])), np.array([0.5, 0.5]))
    some = policy.predict(observations_of(OBSERVATIONS[kind], 2))[0]
    none, state = policy.predict(observations_of(OBSERVATIONS[kind], 0), deterministic=False)
    assert none.shape == (0, *some.shape[1:])
    assert none.dtype == some.dtype
    assert state is None


def remembering() -> Policy:
    """Return a policy with a memory of four numbers."""
    spec = spec_of("gaussian", memory_size=4)
    network = PolicyNetwork(spec)
    count = network.memory.num_parameters + network.network.num_parameters + network.num_log_stds
    data = replace(data_of(spec_of("gaussian")), spec=spec, parameters=torch.zeros(count))
    return Policy(data, np.array([0.5, 0.5]))


def test_an_empty_batch_keeps_an_empty_memory() -> None:
    policy = remembering()
    actions, state = policy.predict(np.zeros((0, 3), np.float32))
    assert (len(actions), np.shape(state)) == (0, (0, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_are_observations_too_whatever_their_gradient(dtype: torch.dtype) -> None:
    policy = Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5]))
    tensor = torch.tensor([[0.5, 0.25, -0.125]] * 2, dtype=dtype, requires_grad=True)
    expected = policy.predict(np.array([[0.5, 0.25, -0.125]] * 2, np.float32))[0]
    np.testing.assert_array_equal(policy.predict(tensor)[0], expected)
    np.testing.assert_array_equal(policy.predict(list(tensor))[0], expected)
    np.testing.assert_array_equal(policy.predict(tensor[0])[0], expected[0])
    mixed = spec_of("gaussian", observation_space=OBSERVATIONS["dict"])
    parts = {"z": torch.tensor([0.5, 0.25], dtype=dtype, requires_grad=True), "a": torch.tensor(1)}
    plain = {"z": np.array([0.5, 0.25], np.float32), "a": 1}
    both = Policy(data_of(mixed), np.array([0.5, 0.5]))
    np.testing.assert_array_equal(both.predict(parts)[0], both.predict(plain)[0])


class Strange(torch.Tensor):
    """A kind of tensor that gives no array, such as nested and quantized ones."""

    def numpy(self, *, force: bool = False) -> Any:
        raise RuntimeError("there is none\nbecause of this and that")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.eye(3).to_sparse()[0], "observation is a sparse tensor (torch.sparse_coo), but must be a dense one"),
        (torch.eye(3).to_sparse(), "observation is a sparse tensor (torch.sparse_coo), but must be a dense one"),
        (torch.zeros(3, device="meta"), "observation is a tensor of the device meta, which holds no numbers"),
        (torch.zeros(2, 3, device="meta"), "observation is a tensor of the device meta, which holds no numbers"),
        (Strange(torch.zeros(3)), "observation is a tensor of type Strange that gives no array: there is none"),
        (torch.zeros(3, dtype=torch.complex64), "observation"),
        ([torch.zeros((), device="meta")] * 3, "observation[0] is a tensor of the device meta"),
    ],
    ids=str,
)
def test_tensors_without_an_array_are_refused_in_one_sentence(tensor: Any, words: str) -> None:
    policy = Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        policy.predict(tensor)


def test_tensors_of_types_that_numpy_has_not_are_observations_too() -> None:
    policy = Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5]))
    expected = policy.predict(np.array([0.5, 0.25, -0.125], np.float32))[0]
    half = torch.tensor([0.5, 0.25, -0.125])
    negative = torch.complex(torch.zeros(3), -half).conj().imag
    assert negative.is_neg()
    for tensor in (half.to(torch.float8_e4m3fn), half.to(torch.float16), negative):
        np.testing.assert_array_equal(policy.predict(tensor)[0], expected)
    with pytest.raises(ValueError, match="but must be finite numbers in float32"):
        policy.predict(np.array([np.inf, 0.0, 0.0], np.float16))


def test_states_and_masks_without_an_array_are_named() -> None:
    masked = Policy(data_of(spec_of("categorical", action_masks=True)), np.array([0.5, 0.5]))
    nothing = torch.zeros(4, device="meta")
    with pytest.raises(ValueError, match=r"^action_masks is a tensor of the device meta"):
        masked.predict(np.zeros(3, np.float32), action_masks=nothing)
    with pytest.raises(ValueError, match=r"^state is a tensor of the device meta"):
        remembering().predict(np.zeros(3, np.float32), state=nothing)


def test_an_unknown_utility_says_nothing_about_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.pt"
    Policy(data_of(spec_of("gaussian")), np.array([0.5, 0.5])).save(file)
    with pytest.raises(ValueError, match=r"^utility is 'nope', but must be one of linear, "):
        load_policy(file, utility="nope")
