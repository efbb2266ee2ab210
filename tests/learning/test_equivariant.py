"""Networks over rows: permuting rows permutes outputs, absent rows count for nothing, any number of rows fits."""

import pytest
import torch

from morl.learning.encoders import Architecture
from morl.learning.equivariant import EquivariantNetwork
from morl.learning.types import ImageShape, RowShape

COUNT = 5
CHANNELS = 4


def network(count: int = COUNT, columns: int = 2, each: int = 3, layer_norm: bool = False) -> EquivariantNetwork:
    return EquivariantNetwork(RowShape(count, CHANNELS), columns, (8, 6), count * each, layer_norm, "tanh")


def rows_and_columns(count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.rand(2, 7, count, CHANNELS, generator=random), torch.rand(2, 7, 2, generator=random)


def outputs(
    net: EquivariantNetwork, parameters: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    found = net(parameters, torch.cat([rows.flatten(2), columns], dim=2))
    return found.view(*rows.shape[:3], -1)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_permuting_rows_permutes_outputs(layer_norm: bool) -> None:
    net = network(layer_norm=layer_norm)
    parameters = net.initialize(2, torch.Generator().manual_seed(0))
    rows, columns = rows_and_columns()
    order = torch.tensor([3, 0, 4, 1, 2])
    found = outputs(net, parameters, rows, columns)
    torch.testing.assert_close(outputs(net, parameters, rows[:, :, order], columns), found[:, :, order])
    assert (found[:, :, 0] - found[:, :, 1]).abs().max() > 1e-3


def test_rows_see_each_other_and_the_columns() -> None:
    net = network()
    parameters = net.initialize(2, torch.Generator().manual_seed(0))
    rows, columns = rows_and_columns()
    found = outputs(net, parameters, rows, columns)
    other = rows.clone()
    other[:, :, 4] += 1.0
    assert ((outputs(net, parameters, other, columns) - found)[:, :, 0].abs() > 1e-4).all(dim=-1).any()
    assert (outputs(net, parameters, rows, columns + 1.0) - found).abs().max() > 1e-3


def test_absent_rows_are_left_out_and_parameters_fit_any_number_of_rows() -> None:
    """What the rows that exist get is the same with and without rows of -1 behind them, from the same parameters."""
    few = network(3)
    many = network(COUNT)
    assert few.num_parameters == many.num_parameters
    parameters = few.initialize(2, torch.Generator().manual_seed(0))
    rows, columns = rows_and_columns(3)
    filled = torch.cat([rows, torch.full((2, 7, 2, CHANNELS), -1.0)], dim=2)
    torch.testing.assert_close(
        outputs(many, parameters, filled, columns)[:, :, :3], outputs(few, parameters, rows, columns)
    )
    nobody = torch.full((2, 7, COUNT, CHANNELS), -1.0)
    assert outputs(many, parameters, nobody, columns).isfinite().all()


def test_policies_are_computed_as_if_alone() -> None:
    net = network()
    parameters = net.initialize_orthogonal(2, torch.Generator().manual_seed(0), last_gain=0.1)
    rows, columns = rows_and_columns()
    both = outputs(net, parameters, rows, columns)
    for policy in range(2):
        part = slice(policy, policy + 1)
        torch.testing.assert_close(outputs(net, parameters[part], rows[part], columns[part]), both[part])
    assert net.count_first(3) == net.num_parameters
    assert 0 < net.count_first(1) < net.count_first(2)


def test_gradients_reach_every_parameter() -> None:
    net = network()
    parameters = net.initialize(1, torch.Generator().manual_seed(0)).requires_grad_()
    rows, columns = rows_and_columns()
    (gradient,) = torch.autograd.grad(outputs(net, parameters, rows[:1], columns[:1]).square().sum(), parameters)
    assert (gradient != 0.0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "networks:small"}, "where network is 'networks:small'"),
        ({"images": (ImageShape(1, 3, 3),)}, "where observations have images"),
    ],
)
def test_rows_are_refused_beside_what_takes_their_place(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(hidden_sizes=(4,), rows=RowShape(2, 3), **changes)  # type: ignore[arg-type]


def test_outputs_must_be_shared_by_the_rows() -> None:
    with pytest.raises(ValueError, match="outputs is 7, but must be a multiple of the 5 rows"):
        EquivariantNetwork(RowShape(5, 4), 0, (8,), 7)
    architecture = Architecture(hidden_sizes=(4,), rows=RowShape(2, 3))
    with pytest.raises(ValueError, match="precision is 'bfloat16'"):
        architecture.build("actor", 7, 2, torch.bfloat16)
