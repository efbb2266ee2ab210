"""The torch parts: a population in one call equals its members one by one; each part equals a plain reference."""

import json
import subprocess
import sys
from collections import deque
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.learning.backends.numba.gemm import (
    AVX2,
    AVX512,
    NATIVE,
    NO_FLOOR,
    NO_GATE,
    PLAIN,
    RELU_GATE,
    TANH_GATE,
    Tile,
    gemm,
)
from morl.learning.networks import MultilayerPerceptron
from morl.learning.normalization import RunningMeanStd
from morl.learning.observations import encoder, final_observations
from morl.learning.optimizers import Adam, soft_update
from morl.learning.processor import prepared_processor
from morl.learning.replay import ReplayBuffer
from morl.learning.space_records import record_of_space, space_of_record

CPU = torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- Networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [(3, 2), (4, 7, 2), (5, 8, 6, 3)])
def test_a_network_equals_plain_linear_layers(widths: tuple[int, ...]) -> None:
    network = MultilayerPerceptron(widths)
    parameters = network.initialize(3, generator(1)).double()
    parameters += 0.1 * torch.randn(parameters.shape, generator=generator(2), dtype=torch.float64)  # biases too
    inputs = torch.randn(3, 11, widths[0], generator=generator(3), dtype=torch.float64)
    outputs = network(parameters, inputs)
    for policy in range(3):
        hidden, position = inputs[policy].numpy(), 0
        for wide_in, wide_out in pairwise(widths):
            weights = parameters[policy, position : position + wide_in * wide_out].reshape(wide_in, wide_out).numpy()
            position += wide_in * wide_out
            hidden = hidden @ weights + parameters[policy, position : position + wide_out].numpy()
            position += wide_out
            if position < network.num_parameters:
                hidden = np.maximum(hidden, 0.0)
        assert position == network.num_parameters == parameters.shape[1]
        np.testing.assert_allclose(outputs[policy].numpy(), hidden, rtol=1e-12, atol=1e-12)


def test_fresh_weights_are_xavier_normal_and_biases_zero() -> None:
    network = MultilayerPerceptron((60, 140, 5))
    parameters = network.initialize(4, generator(0))
    first, rest = parameters[:, : 60 * 140], parameters[:, 60 * 140 :]
    assert abs(first.std().item() - (2 / 200) ** 0.5) < 0.002
    assert (rest[:, :140] == 0).all()
    assert (parameters[:, -5:] == 0).all()
    assert not torch.equal(parameters[0], parameters[1])
    assert torch.equal(parameters, network.initialize(4, generator(0)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_training_a_population_equals_training_its_members(dtype: torch.dtype, tolerance: float) -> None:
    network = MultilayerPerceptron((4, 9, 9, 2))
    start = network.initialize(3, generator(5)).to(dtype)
    inputs = torch.randn(20, 3, 16, 4, generator=generator(6), dtype=dtype)
    wanted = torch.randn(20, 3, 16, 2, generator=generator(7), dtype=dtype)
    rates = [1e-2, 3e-3, 1e-3]

    def train(members: list[int]) -> torch.Tensor:
        parameters = start[members].clone().requires_grad_()
        target = parameters.detach().clone()
        optimizer = Adam(parameters)
        for step in range(20):
            errors = network(parameters, inputs[step, members]) - wanted[step, members]
            loss = errors.square().mean(dim=(1, 2)).sum()  # summed over policies, so that none feels the others
            (gradient,) = torch.autograd.grad(loss, parameters)
            optimizer.step(gradient, [rates[member] for member in members])
            soft_update(target, parameters, 0.05)
        return torch.stack([parameters.detach(), target])

    together = train([0, 1, 2])
    for member in range(3):
        alone = train([member])
        torch.testing.assert_close(together[:, member], alone[:, 0], rtol=tolerance, atol=tolerance)
    assert not torch.equal(together[0], start)


# --- Adam -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [1e-2, [1e-2, 1e-3, 0.5]])
def test_adam_equals_the_textbook(rates: Any) -> None:
    start = torch.randn(3, 17, generator=generator(1), dtype=torch.float64)
    parameters = start.clone().requires_grad_()
    optimizer = Adam(parameters)
    expected = start.numpy().copy()
    first, second = np.zeros_like(expected), np.zeros_like(expected)
    rate = np.broadcast_to(rates, 3)[:, None]
    for step in range(1, 31):
        gradient = torch.randn(3, 17, generator=generator(step), dtype=torch.float64) * 10 ** (step % 5 - 3)
        decay = 1.0 if step < 15 else 0.5  # the rate may change on the way
        optimizer.step(gradient, decay * rates if isinstance(rates, float) else [decay * each for each in rates])
        first = 0.9 * first + 0.1 * gradient.numpy()
        second = 0.999 * second + 0.001 * gradient.numpy() ** 2
        expected -= decay * rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(parameters.detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_adam_goes_on_from_its_state() -> None:
    start = torch.randn(2, 5, generator=generator(1))
    gradients = torch.randn(6, 2, 5, generator=generator(2))
    whole = start.clone()
    optimizer = Adam(whole)
    for gradient in gradients:
        optimizer.step(gradient, 1e-2)
    parts = start.clone()
    first = Adam(parts)
    for gradient in gradients[:3]:
        first.step(gradient, 1e-2)
    second = Adam(parts)
    second.load_state_dict(first.state_dict())
    for gradient in gradients[3:]:
        second.step(gradient, 1e-2)
    assert torch.equal(whole, parts)


def test_a_soft_update_is_a_weighted_mean() -> None:
    target, source = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -2.0]])
    soft_update(target, source, 0.25)
    assert target.tolist() == [[1.5, 1.0]]
    soft_update(target, source, 1.0)
    assert target.tolist() == source.tolist()


# --- Replay buffers ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(capacity=st.integers(1, 12), sizes=st.lists(st.integers(0, 12), max_size=12), population=st.sampled_from([1, 3]))
def test_the_ring_holds_the_latest(capacity: int, sizes: list[int], population: int) -> None:
    replay = ReplayBuffer(capacity, {"number": 1, "pair": 2}, CPU, population)
    expected: deque[int] = deque(maxlen=capacity)
    count = 0
    for size in (min(size, capacity) for size in sizes):
        numbers = torch.arange(count, count + size, dtype=torch.float32)
        tagged = numbers.repeat(population, 1) + 1000 * torch.arange(population).unsqueeze(1)
        replay.add(number=tagged.unsqueeze(2), pair=torch.stack([tagged, -tagged], dim=2))
        expected.extend(range(count, count + size))
        count += size
        assert len(replay) == len(expected)
    if expected:
        batch = replay.sample(200, generator(count))
        assert {name: tuple(column.shape) for name, column in batch.items()} == {
            "number": (population, 200, 1),
            "pair": (population, 200, 2),
        }
        for policy in range(population):
            drawn = batch["number"][policy, :, 0] - 1000 * policy
            assert set(drawn.tolist()) <= {float(number) for number in expected}
            tagged = drawn + 1000 * policy
            assert torch.equal(batch["pair"][policy], torch.stack([tagged, -tagged], dim=1))
    copied = ReplayBuffer(capacity, {"number": 1, "pair": 2}, CPU, population)
    copied.load_state_dict(replay.state_dict())
    assert len(copied) == len(replay)
    assert torch.equal(copied.rows, replay.rows)
    assert copied.added == replay.added


def test_samples_are_uniform_and_with_replacement() -> None:
    replay = ReplayBuffer(8, {"number": 1}, CPU, population=2)
    replay.add(number=torch.arange(5.0).repeat(2, 1).unsqueeze(2))
    batch = replay.sample(50_000, generator(0))["number"][:, :, 0]
    for policy in range(2):
        shares = torch.bincount(batch[policy].long(), minlength=8) / 50_000
        assert (shares[:5] - 0.2).abs().max() < 0.01
        assert (shares[5:] == 0).all()  # never an empty row
    assert not torch.equal(batch[0], batch[1])


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_a_large_replay_takes_memory_as_it_fills() -> None:
    """Written at once, these two would take 800 MB, some 200,000 pages, before the first transition.

    In a process of its own: what others freed in this one would be taken first, and written.
    """
    program = """if True:
        import resource
        import torch
        from morl.learning.replay import ReplayBuffer
        from morl.learning.shared_replay import SharedReplayBuffer

        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        replay = ReplayBuffer(1_000_000, {"observation": 100}, torch.device("cpu"))
        rings = SharedReplayBuffer(250_000, {"observation": 100}, torch.device("cpu"), 4)
        replay.add(observation=torch.ones(1, 5, 100))
        assert not replay.rows[0, 5:9].any()
        assert not rings.rows[:9].any()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 20_000


def test_a_replay_of_another_shape_is_refused() -> None:
    replay = ReplayBuffer(4, {"number": 1}, CPU)
    replay.add(number=torch.zeros(1, 3, 1))
    replay.add(number=torch.zeros(1, 3, 1))
    for other in (
        ReplayBuffer(3, {"number": 1}, CPU),
        ReplayBuffer(9, {"number": 1}, CPU),
        ReplayBuffer(4, {"number": 2}, CPU),
    ):
        with pytest.raises(ValueError, match="replay rows"):
            other.load_state_dict(replay.state_dict())


# --- Observations -----------------------------------------------------------------------------------------------------

BOX = spaces.Box(-1.0, 1.0, (2, 3), np.float32)
SPACES: dict[str, tuple[Any, int]] = {
    "Box": (BOX, 6),
    "scalar Box": (spaces.Box(0.0, 1.0, (), np.float64), 1),
    "Discrete": (spaces.Discrete(4, start=-2), 4),
    "MultiDiscrete": (spaces.MultiDiscrete([2, 3], start=[5, -1]), 5),
    "MultiBinary": (spaces.MultiBinary(3), 3),
    "Dict": (spaces.Dict({"b": BOX, "a": spaces.Discrete(2)}), 8),
    "Tuple": (spaces.Tuple((spaces.Discrete(2), BOX)), 8),
    "nested": (spaces.Dict({"a": spaces.Tuple((BOX, spaces.Dict({"c": spaces.Discrete(3)})))}), 9),
}


def batched(space: Any, observations: list[Any]) -> Any:
    """Batch observations as a vector environment does."""
    return concatenate(space, observations, create_empty_array(space, len(observations)))


@pytest.mark.parametrize("name", SPACES)
def test_every_space_becomes_rows(name: str) -> None:
    space, width = SPACES[name]
    space.seed(3)
    observations = [space.sample() for _ in range(7)]
    encode, found_width = encoder(space)
    rows = encode(batched(space, observations))
    assert (found_width, rows.shape, rows.dtype) == (width, (7, width), np.float32)
    expected = [np.concatenate([np.ravel(part) for part in _flat(space, each)]) for each in observations]
    np.testing.assert_array_equal(rows, np.array(expected, dtype=np.float32))
    assert batch_space(space, 7).contains(batched(space, observations))


def _flat(space: Any, observation: Any) -> Any:
    """Yield the parts of an observation as a plain reference would: arrays, one-hot vectors."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _flat(part, observation[key])
    elif isinstance(space, spaces.Tuple):
        for part, value in zip(space.spaces, observation, strict=True):
            yield from _flat(part, value)
    elif isinstance(space, spaces.Discrete):
        yield np.eye(space.n)[observation - space.start]
    elif isinstance(space, spaces.MultiDiscrete):
        for value, first, count in zip(observation, space.start, space.nvec, strict=True):
            yield np.eye(count)[value - first]
    else:
        yield observation


@pytest.mark.parametrize("name", SPACES)
def test_last_observations_are_batched_as_the_others(name: str) -> None:
    space, _ = SPACES[name]
    space.seed(4)
    observations = [space.sample() for _ in range(5)]
    final = np.empty(5, dtype=object)
    for index in (1, 2, 4):
        final[index] = observations[index]
    encode, _ = encoder(space)
    rows = encode(final_observations({"final_obs": final}, np.array([1, 2, 4])))
    np.testing.assert_array_equal(rows, encode(batched(space, observations))[[1, 2, 4]])


def test_one_hot_tells_all_states_of_a_grid_apart() -> None:
    grid = spaces.Box(np.array([-1, 2]), np.array([2, 4]), dtype=np.int32)
    encode, width = encoder(grid, one_hot=True)
    cells = np.array([[row, column] for row in range(-1, 3) for column in range(2, 5)], dtype=np.int32)
    rows = encode(cells)
    assert rows.shape == (12, width)
    assert len(np.unique(rows, axis=0)) == 12
    assert set(np.unique(rows)) == {0.0, 1.0}
    floats, _ = encoder(BOX, one_hot=True)  # changes nothing where there is nothing to count
    assert floats(np.ones((2, 2, 3))).shape == (2, 6)


def test_an_empty_part_of_an_observation_adds_nothing() -> None:
    parts = {"empty": spaces.Box(-1, 1, (0,), np.float32), "full": spaces.Box(-1, 1, (2,), np.float32)}
    encode, width = encoder(spaces.Dict(parts))
    batch = {"empty": np.zeros((3, 0), np.float32), "full": np.ones((3, 2), np.float32)}
    assert width == 2
    np.testing.assert_array_equal(encode(batch), np.ones((3, 2)))
    empty = spaces.Dict({"integers": spaces.Box(0, 9, (0,), np.int64), "full": parts["full"]})
    assert encoder(empty, one_hot=True)[1] == 2


@pytest.mark.parametrize(
    ("space", "one_hot", "message"),
    [
        (spaces.Box(-1, 1, (0,), np.float32), False, "must have at least one entry"),
        (spaces.Tuple(()), False, "must have at least one entry"),
        (spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64), True, "set one_hot to false"),
        (spaces.Box(0, 255, (480, 480, 3), np.uint8), True, "at most 1000000 categories"),
        (spaces.Discrete(2**40), False, "at most 1000000 categories"),
    ],
)
def test_spaces_that_cannot_be_encoded_are_one_sentence(space: spaces.Space[Any], one_hot: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(space, one_hot)


def test_one_hot_of_a_space_too_large_to_enumerate() -> None:
    pixels = spaces.Box(0, 255, (8, 8), np.uint8)  # 256**64 joint states: as an int64 that is 0
    encode, width = encoder(pixels, one_hot=True)
    rows = encode(np.full((2, 8, 8), 255, dtype=np.uint8))
    assert rows.shape == (2, width) == (2, 64 * 256)
    assert rows.sum() == 2 * 64


def test_other_spaces_are_refused() -> None:
    for space in (spaces.Text(3), spaces.Sequence(BOX), spaces.Dict({"a": spaces.Text(3)})):
        with pytest.raises(ValueError, match="observation_space is"):
            encoder(space)


# --- The processor ----------------------------------------------------------------------------------------------------


def test_the_processor_is_left_as_it_was() -> None:
    threads = torch.get_num_threads()
    tiny = np.array([sys.float_info.min])

    @prepared_processor(1)
    def fail() -> None:
        assert torch.get_num_threads() == 1
        assert (tiny / 2 == 0).all()
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert torch.get_num_threads() == threads
    assert (tiny / 2 > 0).all()


def test_running_moments_in_parts_are_those_of_the_whole() -> None:
    samples = np.random.default_rng(0).normal(1e4, 3.0, (100, 2, 3))
    moments = RunningMeanStd((2, 3))
    for part in np.split(samples, (1, 1, 40, 97)):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, samples.mean(axis=0))
    np.testing.assert_allclose(moments.variance, samples.var(axis=0))
    assert (moments.count == 100).all()
    np.testing.assert_allclose(moments.normalize(samples).std(axis=0), 1.0, rtol=1e-6)


def test_layer_norm_normalizes_hidden_layers() -> None:
    network = MultilayerPerceptron((4, 16, 3), layer_norm=True)
    parameters = network.initialize(2, generator(0))
    inputs = torch.randn(2, 5, 4, generator=generator(1))
    torch.testing.assert_close(network(parameters, 100.0 * inputs), network(parameters, inputs), rtol=1e-3, atol=1e-3)
    plain = MultilayerPerceptron((4, 16, 3))
    first, *rest = torch.split(parameters, plain.sizes(), dim=1)
    hidden = torch.einsum("pbi,pij->pbj", inputs, first.view(2, 4, 16))
    hidden = torch.nn.functional.layer_norm(hidden, (16,)).relu()
    torch.testing.assert_close(network(parameters, inputs), torch.bmm(hidden, rest[1].view(2, 16, 3)))


def test_low_precision_is_close_and_confined_to_the_inner_products() -> None:
    widths = (5, 64, 64, 2)
    network, low = MultilayerPerceptron(widths), MultilayerPerceptron(widths, inner_dtype=torch.bfloat16)
    parameters = network.initialize(3, generator(0)).requires_grad_()
    inputs = torch.randn(3, 32, 5, generator=generator(1))
    exact, approximate = network(parameters, inputs), low(parameters, inputs)
    assert approximate.dtype == torch.float32
    assert 0 < (exact - approximate).abs().max() < 0.03 * exact.abs().max()
    (exact_gradient,) = torch.autograd.grad(exact.square().sum(), parameters)
    (gradient,) = torch.autograd.grad(approximate.square().sum(), parameters)
    assert torch.cosine_similarity(gradient, exact_gradient).min() > 0.999
    shallow = MultilayerPerceptron((5, 64, 2), inner_dtype=torch.bfloat16)
    again = MultilayerPerceptron((5, 64, 2))
    parameters = again.initialize(3, generator(2))
    assert torch.equal(shallow(parameters, inputs), again(parameters, inputs))


def test_policies_with_their_own_generators_sample_as_if_alone() -> None:
    rows = torch.randn(2, 9, 3, generator=generator(0))
    together = ReplayBuffer(20, {"x": 3}, CPU, population=2)
    together.add(x=rows)
    sample = together.sample(64, generator(5), generator(6))["x"]
    for policy, seed in enumerate((5, 6)):
        alone = ReplayBuffer(20, {"x": 3}, CPU)
        alone.add(x=rows[policy : policy + 1])
        assert torch.equal(alone.sample(64, generator(seed))["x"][0], sample[policy])


@pytest.mark.parametrize("rows", [1, 5, 8, 31])
@pytest.mark.parametrize("columns", [1, 16, 17, 64, 70])
@pytest.mark.parametrize("terms", [1, 9])
@pytest.mark.parametrize("tile", [AVX512, AVX2, PLAIN], ids=lambda tile: f"{tile.lanes}x{tile.vectors}")
@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(np.float32, 1e-4, 1e-5), (np.float64, 1e-12, 1e-12)])
def test_a_product_is_that_of_numpy(
    rows: int, columns: int, terms: int, tile: Tile, dtype: Any, rtol: float, atol: float
) -> None:
    """Tiles of every shape, whatever the processor: LLVM splits vectors that are too wide for it."""
    random = np.random.default_rng(0)
    shapes: Any = ((rows, terms), (terms, columns), columns)
    left, right, bias = (random.normal(size=shape).astype(dtype) for shape in shapes)
    before = random.normal(size=(rows, columns)).astype(dtype)
    before[0, 0] = np.nan
    plain, gates = left @ right + bias, {NO_GATE: 1.0, RELU_GATE: before > 0, TANH_GATE: 1 - before**2}
    for layout in (np.ascontiguousarray, np.asfortranarray):
        for gate, factor in gates.items():
            result = before.copy()
            gemm(tile, layout(left), layout(right), bias, NO_FLOOR, gate, result)
            np.testing.assert_allclose(result, plain * factor, rtol=rtol, atol=atol)
        gemm(tile, layout(left), layout(right), bias[:0], np.float32(0.0), NO_GATE, result)
        np.testing.assert_allclose(result, np.maximum(left @ right, 0.0), rtol=rtol, atol=atol)
    left[0, 0] = np.nan
    gemm(tile, left, right, bias, np.float32(0.0), NO_GATE, result)
    assert np.isnan(result[0]).all()  # a ReLU does not hide what has gone wrong


def test_the_tile_of_this_processor_changes_no_number() -> None:
    random = np.random.default_rng(0)
    left, right, bias = (random.normal(size=shape).astype(np.float32) for shape in ((31, 70), (70, 70), 70))
    results = []
    for tile in (NATIVE, AVX512, AVX2):
        results.append(np.zeros((31, 70), dtype=np.float32))
        gemm(tile, left, right, bias, np.float32(0.0), NO_GATE, results[-1])
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_the_whole_range_of_an_integer_type_survives_its_record(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    box = spaces.Box(limits.min, limits.max, (2, 3), dtype)
    again = space_of_record(json.loads(json.dumps(record_of_space(box))))
    assert again == box
    as_floats = {**record_of_space(box), "low": [float(limits.min)] * 6, "high": [float(limits.max)] * 6}
    assert space_of_record(as_floats) == box  # as written before
