"""Updates as CUDA graphs: the operations that an update launches are captured once, and replayed by one call.

A network of some hundred units keeps a GPU busy for microseconds at a time, and launching the hundred operations of an
update takes the processor longer than the GPU needs for them. A graph launches all of them at once. What is captured is
the eager update itself: it stays the only description of the algorithm.

A graph repeats operations on the same memory, with the numbers that Python computed while they were captured. So work
that is captured writes its results in place, waits for nothing, draws no random numbers, and everything that Python
decides in it belongs to the key of the graph.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from morl.learning.off_policy import OffPolicyAlgorithm
    from morl.learning.ppo import PPO, PolicyLoss, Samples
    from morl.learning.sampled_batches import SampledBatches

Tensors: TypeAlias = Mapping[str, Tensor]
Work: TypeAlias = Callable[[Tensors], dict[str, Tensor]]
"""Inputs by name -> results by name; everything else that it changes, it changes in place."""

WARM_UPS = 3
"""Eager runs before work is captured: libraries set themselves up in them, and allocate memory."""
MAX_GRAPHS = 16
"""Graphs that one `CapturedWork` keeps; further kinds of work run eagerly."""
MAX_UPDATES = 16
"""Most updates in one graph."""


class Graph(Protocol):
    """Operations that are captured once and then replayed."""

    def warm_up(self, run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Run work eagerly where it will be captured, and return its results."""
        ...

    def capture(self, run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Capture work without running it; return the tensors in which every replay leaves its results."""
        ...

    def replay(self) -> None:
        """Run the work."""
        ...


class CudaGraph:
    """A graph of CUDA; satisfies `Graph`."""

    _stream: torch.cuda.Stream | None = None

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    @classmethod
    def stream(cls) -> torch.cuda.Stream:
        """Return the one stream in which work is warmed up and captured: cuBLAS has a workspace for each stream."""
        if cls._stream is None:
            cls._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return cls._stream

    def warm_up(self, run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Run work eagerly where it will be captured, and return its results."""
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream()):
            results = run()
        torch.cuda.synchronize()
        return results

    def capture(self, run: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Capture work without running it; return the tensors in which every replay leaves its results."""
        with torch.cuda.graph(self.graph, stream=self.stream()):
            return run()

    def replay(self) -> None:
        """Run the work."""
        self.graph.replay()


@dataclass
class _Captured:
    """One kind of work.

    Attributes:
        graph: of the work.
        warm_ups: eager runs so far.
        run: the captured work; it is kept because the graph reads the memory that it refers to.
        inputs: memory that the graph reads its inputs from; empty before it is captured.
        results: memory that the graph leaves its results in.
    """

    graph: Graph
    warm_ups: int = 0
    run: Work | None = None
    inputs: Mapping[str, Tensor] | None = None
    results: Mapping[str, Tensor] | None = None


class CapturedWork:
    """Runs work eagerly at first, and then by replaying a graph that was captured of it; satisfies `RunWork`."""

    backend = "cuda-graph"

    def __init__(self) -> None:
        self.kinds: dict[Hashable, _Captured] = {}

    def __call__(self, key: Hashable, work: Work, inputs: Tensors) -> dict[str, Tensor]:
        """Run work and return its results; the next run of the same kind overwrites them.

        Args:
            key: everything that the work depends on beside tensors. Work with the same key, on inputs of the same
                shapes, is the same work.
            work: what is run. It reads, beside its inputs, only tensors that stay where they are.
            inputs: tensors by name; they are copied.
        """
        shapes = tuple((name, tensor.shape, tensor.dtype) for name, tensor in inputs.items())
        kind = self.kinds.get((key, shapes))
        if kind is None:
            if len(self.kinds) == MAX_GRAPHS:
                return work(inputs)
            kind = self.kinds[key, shapes] = _Captured(CudaGraph())
        if kind.warm_ups < WARM_UPS:
            kind.warm_ups += 1
            return kind.graph.warm_up(lambda: work(inputs))
        if kind.inputs is None or kind.results is None:
            own = {name: tensor.clone() for name, tensor in inputs.items()}
            kind.results = kind.graph.capture(lambda: work(own))
            kind.inputs = own
            kind.run = work
        else:
            for name, tensor in inputs.items():
                kind.inputs[name].copy_(tensor)
        kind.graph.replay()
        return dict(kind.results)


class GraphUpdate:
    """Updates of an off-policy algorithm, up to `MAX_UPDATES` in a graph; satisfies `morl.learning.backends.Update`.

    Args:
        algorithm: whose parameters change, in place.
    """

    backend = "cuda-graph"

    def __init__(self, algorithm: "OffPolicyAlgorithm") -> None:
        self.algorithm = algorithm
        self.captured = CapturedWork()

    def __call__(self, batches: "SampledBatches") -> dict[str, Tensor]:
        """Run the update of every batch; return the latest value of each metric."""
        metrics: dict[str, Tensor] = {}
        for part in batches.parts(MAX_UPDATES):
            metrics |= self._run(part)
        return metrics

    def _run(self, batches: "SampledBatches") -> dict[str, Tensor]:
        algorithm = self.algorithm
        updates = algorithm.updates

        def work(inputs: Tensors) -> dict[str, Tensor]:
            metrics: dict[str, Tensor] = {}
            for batch in batches.with_tensors(inputs):
                metrics |= algorithm.update(batch)
            return metrics

        key = (algorithm.update_choices(len(batches)), batches.fixed_parts())
        metrics = self.captured(key, work, batches.tensors())
        algorithm.updates = updates + len(batches)  # a replay counts nothing
        return metrics


class GraphGradientStep:
    """The gradient step of a `PPO` as a graph; satisfies `morl.learning.ppo.GradientStep`.

    PPO's own loss is captured once. Another policy loss depends on tensors of one update, whose gradient steps share a
    graph: it is captured anew for each loss.

    Args:
        ppo: whose parameters change, in place.
    """

    backend = "cuda-graph"

    def __init__(self, ppo: "PPO") -> None:
        self.ppo = ppo
        self.own_loss = CapturedWork()
        self.other_loss = CapturedWork()
        self.policy_loss: PolicyLoss | None = None

    def __call__(self, batch: "Samples", learning_rates: Tensor, policy_loss: "PolicyLoss | None" = None) -> Tensor:
        """Run one gradient step in place; return the ratios [policy, sample] before it, until the next step."""
        if policy_loss is not None and policy_loss is not self.policy_loss:
            self.other_loss = CapturedWork()
            self.policy_loss = policy_loss

        def work(inputs: Tensors) -> dict[str, Tensor]:
            samples = {name: inputs[name] for name in batch}
            return {"ratios": self.ppo.step(samples, inputs["learning rates"], policy_loss)}

        captured = self.own_loss if policy_loss is None else self.other_loss
        return captured(None, work, {**batch, "learning rates": learning_rates})["ratios"]


def unsupported(device: torch.device, combiner: str = "weighted-sum") -> str | None:
    """Return what keeps updates from CUDA graphs, as a clause, or None.

    Args:
        device: where they run.
        combiner: of the gradients of the objectives; all but one solve small systems, which waits for the GPU.
    """
    if combiner != "weighted-sum":
        return f"combiner is {combiner!r}, which only eager updates support"
    return f"device is {device.type!r}, and CUDA graphs run on a GPU only" if device.type == "cpu" else None
