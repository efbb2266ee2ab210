"""Saved states: every kind of object continues exactly or is refused, and nothing else is ever written to."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import itertools
import random
import threading
import time
import types
from collections import OrderedDict, defaultdict, deque
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from morl.envs import ContractViolation, StateNotCapturable, check_env, make_vec
from morl.envs.core.state import capture, restore, same
from morl.experiment import checkpoint


class Cell(NamedTuple):
    row: int


@dataclasses.dataclass(frozen=True)
class Frozen:
    row: int


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    row: int


@dataclasses.dataclass
class Job:
    left: int


class Private:
    __slots__ = ("__row",)

    def __init__(self, row):
        self.__row = row

    @property
    def row(self):
        return self.__row


class Other:
    def __init__(self, row):
        self.row = row


class Deck(list):
    owner = None


class Belt(deque):
    pass


class Bag(dict):
    pass


class Few(set):
    pass


class Count(int):
    pass


class Text(str):
    pass


class Weighted(np.ndarray):
    weight = 0


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Ways(enum.Flag):
    LEFT = 1
    RIGHT = 2


def weighted(row):
    array = np.full(2, row, dtype=float).view(Weighted)
    array.weight = row
    return array


def fortran(row):
    return np.asfortranarray(np.arange(6.0).reshape(2, 3) + row)


def masked(row):
    return np.ma.masked_less(np.arange(row + 3), 2)


def add(row, more):
    return row + more


def closure(row):
    def read():
        return row

    return read


def generator(row):
    stream = np.random.default_rng(0)
    stream.random(row)
    return stream


def legacy(row):
    stream = np.random.RandomState(0)
    stream.normal(size=2 * row + 1)  # an odd number: the second of a pair is kept
    return stream


def python_random(row):
    stream = random.Random(0)
    [stream.gauss(0, 1) for _ in range(row)]
    return stream


def deck(row):
    made = Deck([row])
    made.owner = Job(row)
    return made


def chain(row):
    node = None
    for number in range(400 + row):
        node = types.SimpleNamespace(parent=node, number=number)
    return node


def shared(row):
    whole = np.arange(6.0) + row
    return {"whole": whole, "view": whole[1:4], "row": whole.reshape(2, 3)[1]}


def bound(row):
    stream = generator(row)
    return [stream, stream.random]


GROUPS = {  # name: (maker of the first and later values, how they are compared)
    "int": (int, int),
    "huge int": (lambda row: 2**200 + row, int),
    "bytes": (lambda row: bytes([row]), bytes),
    "bytearray": (lambda row: bytearray([row]), bytes),
    "complex": (lambda row: complex(row, 1), complex),
    "named tuple": (Cell, lambda cell: (type(cell), cell.row)),
    "frozen dataclass": (Frozen, lambda cell: cell.row),
    "slotted dataclass": (Slotted, lambda cell: cell.row),
    "private slot": (Private, lambda cell: cell.row),
    "Counter": (lambda row: collections.Counter(x=row), lambda bag: (type(bag), bag["x"])),
    "defaultdict": (lambda row: defaultdict(list, {row: [1]}), lambda bag: (bag[row_of(bag)], bag["new"])),
    "OrderedDict": (lambda row: moved(row), lambda bag: (type(bag), list(bag.items()))),
    "list subclass": (deck, lambda made: (type(made), made[0], made.owner.left)),
    "deque": (lambda row: deque([row, 2], maxlen=2), lambda line: (list(line), line.maxlen)),
    "deque subclass": (lambda row: Belt([row]), lambda line: (type(line), list(line))),
    "dict subclass": (lambda row: Bag(x=row), lambda bag: (type(bag), bag["x"])),
    "set subclass": (lambda row: Few({row, 99}), lambda few: (type(few), sorted(few))),
    "set of objects": (lambda row: {Frozen(row), Frozen(99)}, lambda few: sorted(cell.row for cell in few)),
    "objects as keys": (lambda row: {Frozen(row): Job(row)}, lambda bag: bag[Frozen(next(iter(bag)).row)].left),
    "set of numbers": (lambda row: {8, 0, 16, row, 64 + row}, list),
    "set of cells": (lambda row: {(row, column) for column in range(row + 3)}, list),
    "set of texts": (lambda row: {(row, "x"), "y", "z" * row}, lambda few: sorted(map(str, few))),
    "set of objects by address": (lambda row: {Other(row), Other(99)}, lambda few: sorted(one.row for one in few)),
    "frozenset": (lambda row: frozenset({(row, "x"), "y"}), lambda few: sorted(map(str, few))),
    "int subclass": (Count, lambda number: (type(number), int(number))),
    "str subclass": (lambda row: Text(row), lambda text: (type(text), str(text))),
    "enum": (lambda row: Color(row % 2 + 1), lambda color: color is Color.RED),
    "flags": (lambda row: Ways(row % 4), lambda ways: ways.value),
    "array": (lambda row: np.full((2, 3), row, np.int16), lambda array: (array.dtype, array.tolist())),
    "Fortran array": (
        lambda row: np.asfortranarray(np.arange(6.0).reshape(2, 3) + row),
        lambda array: array.flags.f_contiguous and array.tolist(),
    ),
    "big-endian array": (lambda row: np.full(2, row, ">f4"), lambda array: (array.dtype.str, array.tolist())),
    "long doubles": (lambda row: np.full(2, row, np.longdouble) / 3, lambda array: (array.dtype, array.tolist())),
    "dates": (lambda row: np.array(["2020-01-01"], "datetime64[D]") + row, lambda array: array.tolist()),
    "texts": (lambda row: np.array([str(row), "b"]), lambda array: array.tolist()),
    "records": (lambda row: np.array([(row, 2.5)], [("a", "i4"), ("b", "f8")]), lambda array: array.tolist()),
    "object array": (lambda row: np.array([Job(row), None]), lambda array: array[0].left),
    "ndarray subclass": (weighted, lambda array: (type(array), array.weight, array.tolist())),
    "masked array": (
        lambda row: np.ma.masked_less(np.arange(row + 3), 2),
        lambda array: (array.sum(), array.mask.tolist()),
    ),
    "view": (shared, lambda bag: written(bag)),
    "scalar": (lambda row: np.float32(row) / 3, lambda number: (type(number), float(number))),
    "date scalar": (lambda row: np.datetime64("2020-01-01") + row, str),
    "tensor": (lambda row: torch.full((2,), float(row)), lambda tensor: tensor.tolist()),
    "parameter": (
        lambda row: torch.nn.Parameter(torch.full((1,), float(row))),
        lambda tensor: (type(tensor), tensor.tolist()),
    ),
    "module": (lambda row: linear(row), lambda module: module(torch.ones(1)).tolist()),
    "list of objects": (lambda row: [Job(number) for number in range(row)], lambda jobs: [job.left for job in jobs]),
    "numpy floats": (lambda row: list(np.arange(3.0) + row), lambda numbers: (type(numbers[0]), numbers)),
    "mixed list": (lambda row: [1, 2.5, "x", None, True, row, [row]], lambda things: list(map(repr, things))),
    "range": (lambda row: range(row, 20, 2), list),
    "slice": (lambda row: slice(row, None), lambda part: part.start),
    "dtype": (lambda row: np.dtype(["f4", "f8"][row % 2]), str),
    "partial": (lambda row: functools.partial(add, row, more=Count(1)), lambda function: function()),
    "closure": (closure, lambda function: function()),
    "method": (lambda row: Job(row).__eq__, lambda method: method.__self__.left),
    "builtin method": (bound, lambda pair: (pair[0].random(), pair[1](), pair[0].random())),
    "generator": (generator, lambda stream: stream.random()),
    "legacy generator": (legacy, lambda stream: stream.normal(size=3).tolist()),
    "python generator": (python_random, lambda stream: [stream.gauss(0, 1) for _ in range(3)]),
    "date": (lambda row: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(row), str),
    "decimal": (lambda row: decimal.Decimal(row) / 3, str),
    "namespace": (lambda row: types.SimpleNamespace(row=row), lambda space: space.row),
    "chain of objects": (chain, lambda node: (node.number, depth(node))),
    "lock": (lambda row: [threading.Lock(), row], lambda pair: (pair[0].acquire(blocking=False), pair[1])),
    "function": (lambda row: [add, closure][row % 2], lambda function: function.__name__),
    "class": (lambda row: [Cell, Job][row % 2], lambda kind: kind.__name__),
}


def row_of(bag):
    return next(iter(bag))


def moved(row):
    bag = OrderedDict(a=1, b=row)
    bag.move_to_end("a")
    return bag


def written(bag):
    bag["view"][0] = -1.0
    bag["row"][2] = -2.0
    return bag["whole"].tolist()


def linear(row):
    module = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(module.weight, float(row))
    torch.nn.init.constant_(module.bias, 0.5)
    return module


def depth(node):
    count = 0
    while node is not None:
        node, count = node.parent, count + 1
    return count


class Holder(gymnasium.Env):
    """Holds one object that the number of steps determines; the observation is that number."""

    group = "int"

    def __init__(self):
        self.observation_space, self.action_space = Box(0, 999, (1,), np.float32), Discrete(2)
        self.reward_space = Box(-99, 99, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 1
        self.held = GROUPS[self.group][0](1)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += int(action) + 1
        self.held = GROUPS[self.group][0](self.count)
        return np.array([self.count], np.float32), np.array([1.0, -1.0]), False, False, {}

    def seen(self):
        return GROUPS[self.group][1](self.held)


@pytest.mark.parametrize("group", GROUPS)
def test_every_kind_of_object_continues_exactly(group, tmp_path):
    kind = type("Holder", (Holder,), {"group": group})
    envs = make_vec(kind, 2, seed=0)
    envs.reset()
    for _ in range(3):
        envs.step(np.array([0, 1]))
    checkpoint.save_file(tmp_path / "state.pt", envs.state_dict())
    fresh = make_vec(kind, 2, seed=0)
    fresh.load_state_dict(checkpoint.load_file(tmp_path / "state.pt"))
    assert [repr(env.unwrapped.seen()) for env in fresh.envs] == [repr(env.unwrapped.seen()) for env in envs.envs]
    np.testing.assert_array_equal(fresh.step(np.array([0, 1]))[0], envs.step(np.array([0, 1]))[0])


def words():
    yield 1


def buffered():
    return np.array([(1, None)], [("a", "i4"), ("b", "O")])


class Raises:
    @property
    def __dict__(self):
        raise ZeroDivisionError("a property that raises")


LOCAL = {"made": lambda: 3}


class Refused(Holder):
    """Holds something that cannot be saved, or not restored."""

    held_after_steps = None

    def step(self, action):
        result = super().step(action)
        self.held = self.held_after_steps()
        return result


@pytest.mark.parametrize(
    "make",
    [
        words,
        lambda: iter([1]),
        lambda: itertools.count(3),
        lambda: map(str, [1]),
        lambda: open(__file__),  # noqa: SIM115
        buffered,
        Raises,
        lambda: object(),
        lambda: lambda: 3,
        lambda: frozenset({Frozen(1)}),
        lambda: type("Local", (), {})(),
        lambda: torch.zeros(1, dtype=torch.bfloat16),
        lambda: np.random.mtrand._rand,
        lambda: memoryview(b"x"),
        lambda: ValueError("hidden arguments"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_what_cannot_be_saved_or_restored_is_refused_when_it_is_saved(make):
    envs = make_vec(type("Refused", (Refused,), {"held_after_steps": staticmethod(make)}), 2, seed=0)
    envs.reset()
    envs.state_dict()
    envs.step(np.array([0, 1]))
    with pytest.raises(StateNotCapturable):
        envs.state_dict()
    envs.step(np.array([0, 1]))  # nothing was harmed


ROUTES = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
HOME = Frozen(0)
TABLE = {"a": np.arange(3.0)}
STREAM = np.random.default_rng(3)
SPACE = Discrete(3)
TREE = Job(5)


class Shared(Holder):
    """Points at objects of its module and its class, another one in each episode."""

    costs = [[1], [2], [3]]  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.action_space = SPACE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.index = int(self.np_random.integers(3))
        self.route, self.cost = ROUTES[self.index], self.costs[self.index]
        self.cell = HOME
        self.table = TABLE["a"]
        self.tree = TREE
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.cell = Frozen(self.cell.row + int(action))
        self.table = self.table + 1
        self.tree = Job(self.tree.left + 1)
        return np.array([self.cell.row], np.float32), np.array([self.route[0], -1.0]), False, False, {}


def test_restoring_never_writes_into_objects_of_modules_and_classes():
    before = repr((ROUTES, HOME, TABLE, Shared.costs, TREE))
    envs = make_vec(Shared, 4, seed=0)
    stream, state = SPACE._np_random, SPACE.np_random.bit_generator.state
    envs.reset()
    for _ in range(3):
        envs.step(np.array([0, 1, 2, 1]))
    bystander = Shared()
    bystander.reset(seed=5)
    kept = capture(bystander)
    fresh = make_vec(Shared, 4, seed=7)
    fresh.load_state_dict(envs.state_dict())
    assert repr((ROUTES, HOME, TABLE, Shared.costs, TREE)) == before
    assert SPACE._np_random is stream
    assert stream.bit_generator.state == state
    assert same(capture(bystander), kept)
    for _ in range(5):
        actions = np.array([1, 1, 0, 2])
        for one, other in zip(envs.step(actions)[:4], fresh.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(one, other)
    assert repr((ROUTES, HOME, TABLE, Shared.costs, TREE)) == before


def test_two_restored_environments_share_nothing():
    original = Holder()
    original.reset(seed=0)
    original.held = [Job(1)]
    saved = capture(original)
    one, other = (restore(Holder(), saved) for _ in range(2))
    one.held[0].left = 7
    assert other.held[0].left == 1


def test_attributes_that_were_not_saved_are_removed():
    one, other = Holder(), Holder()
    other.stale = 3
    restore(other, capture(one))
    assert not hasattr(other, "stale")


class Classy(Holder):
    """Keeps its clock on the class, where no saved state can reach."""

    clock = 0

    def reset(self, *, seed=None, options=None):
        type(self).clock = 0
        return super().reset(seed=seed)

    def step(self, action):
        type(self).clock += 1
        self.held = 1
        return np.array([self.clock], np.float32), np.array([1.0, -1.0]), self.clock == 30, False, {}


class Opaque(Holder):
    """Holds something that cannot be saved."""

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed)
        self.held = None
        return result

    def step(self, action):
        *result, _, _, _ = super().step(action)
        self.held = iter([1])
        return (*result, self.count > 30, False, {})


def test_check_env_finds_state_that_is_not_saved():
    with pytest.raises(ContractViolation, match="saved in mid-episode must follow the same trace"):
        check_env(Classy)


def test_check_env_allows_what_cannot_be_saved():
    check_env(Opaque)


def test_large_lists_are_quick():
    class Prices(Holder):
        def __init__(self):
            super().__init__()
            self.prices = [float(i) for i in range(200_000)]
            self.names = [str(i) for i in range(50_000)]
            self.days = {i: float(i) for i in range(50_000)}

    envs = make_vec(Prices, 4, seed=0)
    envs.reset()
    start = time.process_time()
    saved = envs.state_dict()
    envs.load_state_dict(saved)
    assert time.process_time() - start < 4  # about one on a quiet machine; object by object it was 30
    assert envs.envs[0].unwrapped.prices[7] == 7.0


def test_saving_builds_one_probe_for_each_new_kind_of_object():
    built = []

    class Growing(Holder):
        def __init__(self):
            super().__init__()
            built.append(self)

        def step(self, action):
            result = super().step(action)
            self.held = Job(1) if self.count > 5 else 1
            return result

    envs = make_vec(Growing, 2, seed=0)
    envs.reset()
    numbers = []
    for _ in range(6):
        envs.state_dict()
        numbers.append(len(built))
        envs.step(np.array([0, 0]))
    assert numbers == [3, 3, 3, 3, 3, 4]
