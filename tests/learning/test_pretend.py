"""The pretended device refuses what CUDA refuses, counts what CUDA would wait for, and notices planted mistakes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pretend
import pytest
import torch
from pretend import NotCapturable, Waits, WrongDevice
from pretend_graph import PretendGraph
from torch import Tensor

from morl.learning.backends import cuda_graph, make_update
from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings

if pretend.unavailable():
    pytest.skip(str(pretend.unavailable()), allow_module_level=True)


@pytest.fixture
def device() -> Iterator[torch.device]:
    with pretend.pretended() as place:
        yield place


# --- The device -------------------------------------------------------------------------------------------------------

MIXED: dict[str, Callable[[Tensor], Any]] = {
    "sum": lambda there: there + torch.ones(3),
    "product": lambda there: torch.ones(2, 3) @ there,
    "concatenation": lambda there: torch.cat([there, torch.ones(3)]),
    "written to": lambda there: torch.ones(3).add_(there),
    "foreign generator": lambda there: torch.randn(3, generator=torch.Generator(), device=there.device),
    "generator on the CPU": lambda there: torch.randn(3, generator=torch.Generator(there.device)),
}


@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED)
def test_devices_do_not_mix(mix: Any, device: torch.device) -> None:
    with pytest.raises(WrongDevice):
        mix(torch.ones(3, device=device))


def test_what_cuda_allows_is_allowed(device: torch.device) -> None:
    there = torch.arange(6.0, device=device).view(2, 3)
    assert (there + torch.tensor(1.0)).tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert there[torch.tensor([1])].tolist() == [[3.0, 4.0, 5.0]]
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()


WAITING: dict[str, tuple[str, Callable[[Tensor], Any]]] = {
    "a number": (pretend.WAIT, lambda there: there[0].item()),
    "a condition": (pretend.WAIT, lambda there: bool(there[0] > 0)),
    "an index of truth values": (pretend.WAIT, lambda there: there[there > 1.0]),
    "numbers from Python": (pretend.TO_DEVICE, lambda there: there.new_tensor([1.0, 2.0])),
    "an array": (pretend.TO_DEVICE, lambda there: torch.ones(3).to(there.device)),
    "back": (pretend.TO_HOST, lambda there: there.cpu()),
    "lists": (pretend.TO_HOST, lambda there: there.tolist()),
    "an index from the CPU": (pretend.TO_DEVICE, lambda there: there[torch.tensor([1])]),
}


@pytest.mark.parametrize("kind", WAITING)
def test_what_waits_is_counted_and_can_be_forbidden(kind: str, device: torch.device) -> None:
    counted, operation = WAITING[kind]
    there = torch.ones(3, device=device)
    with pretend.watched() as log:
        operation(there)
    assert log.total(counted) == 1
    with pretend.forbid_waits(), pytest.raises(Waits):
        operation(there)
    with pretend.watched() as log, pretend.forbid_waits():
        torch.zeros(3, device=device).add_(there).view(1, 3)
    assert log.total(pretend.KERNEL) == 2
    assert log.total(pretend.TO_DEVICE, pretend.TO_HOST, pretend.WAIT) == 0


def test_both_devices_draw_the_same_numbers_and_keep_states_apart(device: torch.device) -> None:
    here, there = torch.Generator().manual_seed(3), torch.Generator(device).manual_seed(3)
    assert torch.randn(4, generator=there, device=device).tolist() == torch.randn(4, generator=here).tolist()
    with pytest.raises(RuntimeError, match="expected a state of size"):
        there.set_state(here.get_state())
    torch.manual_seed(5)
    first = torch.rand(2, device=device).tolist()
    torch.rand(2)  # the CPU's global generator is another one
    second = torch.rand(2, device=device).tolist()
    torch.manual_seed(5)
    assert torch.rand(4, device=device).tolist() == first + second


def test_modules_that_are_moved_keep_their_optimizers(device: torch.device) -> None:
    module = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module.to(device)
    before = module.weight.detach().clone()
    module(torch.ones(1, 2, device=device)).sum().backward()
    optimizer.step()
    assert (module.weight - before).abs().min().item() > 0.05


# --- Mistakes in a captured update ------------------------------------------------------------------------------------

POLICIES = 2
BATCH = 7
ROWS = 20


def batches(device: torch.device, rows: Tensor, seed: int) -> SampledBatches:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    drawn = (POLICIES, 3, BATCH)
    return SampledBatches(
        rows=rows,
        index=torch.randint(ROWS, drawn, generator=generator).to(device),
        observation_width=3,
        action_width=2,
        condition=uniform(*drawn, 0),
        noise=uniform(POLICIES, 3, 1, BATCH, 2),
        scale=uniform(POLICIES, 2) + 0.5,
        weight=uniform(*drawn, 2),
    )


def final_state(device: torch.device, backend: Any, mistake: Callable[[TD3], None]) -> Tensor:
    settings = TD3Settings(hidden_sizes=(6,), discount=0.9, policy_delay=2, actor_starts=20)
    td3 = TD3(3, 2, 2, settings, range(POLICIES), device)
    mistake(td3)
    update = make_update(td3, backend)
    rows = torch.rand(POLICIES, ROWS, 11, generator=torch.Generator().manual_seed(9)).to(device)
    for seed in range(16):
        update(batches(device, rows, seed))
    state = td3.tensors()
    return torch.cat([state[name].detach().flatten().cpu() for name in ("actor", "critic", "target")])


def on_targets(change: Callable[[TD3, Tensor], Tensor]) -> Callable[[TD3], None]:
    """Return what lets an update compute its targets otherwise."""

    def plant(td3: TD3) -> None:
        compute = td3.targets
        td3.targets = lambda batch: change(td3, compute(batch))  # type: ignore[method-assign]

    return plant


def reads_a_number(td3: TD3, targets: Tensor) -> Tensor:
    return targets * (1.0 if targets.sum().item() > -1e9 else 0.0)


def takes_a_tensor_of_the_cpu(td3: TD3, targets: Tensor) -> Tensor:
    return targets + torch.zeros(2)


def copies_to_the_device(td3: TD3, targets: Tensor) -> Tensor:
    return targets + targets.new_tensor([0.0, 0.0])


def draws_noise(td3: TD3, targets: Tensor) -> Tensor:
    generator = torch.Generator(targets.device).manual_seed(0)
    return targets + torch.randn(2, generator=generator, device=targets.device)


def draws_from_the_global_generator(td3: TD3, targets: Tensor) -> Tensor:
    return targets + torch.randn(2, device=targets.device)


def depends_on_a_number_of_python(td3: TD3, targets: Tensor) -> Tensor:
    return targets * (1.0 + 0.01 * td3.updates)


def forgets_the_delay(td3: TD3) -> None:
    td3.update_choices = lambda count: (td3.updates > 20,)  # type: ignore[method-assign]


def forgets_where_actors_start(td3: TD3) -> None:
    td3.update_choices = lambda count: (td3.updates % 2,)  # type: ignore[method-assign]


def rebinds_the_targets(td3: TD3) -> None:
    update = td3.update

    def rebinding(batch: Any) -> Any:
        metrics = update(batch)
        td3.target_critics = td3.target_critics + 0.0
        return metrics

    td3.update = rebinding  # type: ignore[method-assign]


def reads_what_is_made_anew(td3: TD3) -> None:
    """The choices are asked for once for each graph, outside of it."""
    choices, compute = td3.update_choices, td3.targets

    def renew(count: int) -> Any:
        td3.units = torch.ones(2, device=td3.actors.device)  # type: ignore[attr-defined]
        return choices(count)

    td3.update_choices = renew  # type: ignore[method-assign]
    td3.targets = lambda batch: compute(batch) * td3.units  # type: ignore[method-assign,attr-defined]


def nothing(td3: TD3) -> None:
    pass


RAISED: dict[str, tuple[Callable[[TD3], None], type[Exception]]] = {
    "reads a number": (on_targets(reads_a_number), NotCapturable),
    "takes a tensor of the CPU": (on_targets(takes_a_tensor_of_the_cpu), WrongDevice),
    "copies to the device": (on_targets(copies_to_the_device), NotCapturable),
    "draws noise": (on_targets(draws_noise), NotCapturable),
    "draws from the global generator": (on_targets(draws_from_the_global_generator), NotCapturable),
    "rebinds the targets": (rebinds_the_targets, NotCapturable),
    "reads what is made anew": (reads_what_is_made_anew, NotCapturable),
}
DIFFERENT: dict[str, Callable[[TD3], None]] = {
    "depends on a number of Python": on_targets(depends_on_a_number_of_python),
    "forgets the delay": forgets_the_delay,
    "forgets where actors start": forgets_where_actors_start,
}


@pytest.fixture(autouse=True)
def pretended_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "CudaGraph", PretendGraph)


@pytest.mark.parametrize(("mistake", "error"), RAISED.values(), ids=RAISED)
def test_a_mistake_that_cuda_refuses_is_refused(mistake: Any, error: Any, device: torch.device) -> None:
    with pytest.raises(error, match="at "):
        final_state(device, "cuda-graph", mistake)


@pytest.mark.parametrize("mistake", DIFFERENT.values(), ids=DIFFERENT)
def test_a_mistake_that_changes_numbers_changes_them_here(mistake: Any, device: torch.device) -> None:
    eager = final_state(device, "eager", mistake)
    assert not torch.equal(final_state(device, "cuda-graph", mistake), eager)


def test_the_inputs_of_the_first_call_are_no_inputs(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = final_state(device, "eager", nothing)
    monkeypatch.setattr(SampledBatches, "with_tensors", lambda self, tensors: replace(self))
    assert not torch.equal(final_state(device, "cuda-graph", nothing), eager)


def test_without_a_mistake_nothing_is_noticed(device: torch.device) -> None:
    eager = final_state(device, "eager", nothing)
    assert torch.equal(final_state(device, "cuda-graph", nothing), eager)
    assert torch.equal(final_state(torch.device("cpu"), "eager", nothing), eager)
