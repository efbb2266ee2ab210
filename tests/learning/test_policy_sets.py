"""Policy sets: every row of a batch has the network of its own preference; at first it is a plain one for all."""

from typing import Any

import pytest
import torch
from torch import Tensor

from morl.learning.encoders import Architecture
from morl.learning.image_networks import ImageNetwork
from morl.learning.networks import MultilayerPerceptron
from morl.learning.optimizers import Adam
from morl.learning.policy_sets import PolicySetNetwork
from morl.learning.td3 import TD3, TD3Settings
from morl.learning.types import ImageShape, PolicySet, RowShape

SEEN = 4
OBJECTIVES = 3
SETS = {"hyper": PolicySet("hyper", OBJECTIVES, 5), "combination": PolicySet("combination", OBJECTIVES)}
FORMS = list(SETS)


def network(form: str, layer_norm: bool = False, hidden: tuple[int, ...] = (8, 6)) -> PolicySetNetwork:
    return PolicySetNetwork(MultilayerPerceptron((SEEN, *hidden, 2), layer_norm, activation="tanh"), SETS[form])


def perturbed(net: Any, policies: int = 2, seed: int = 0) -> Tensor:
    """Return parameters of which all sets differ."""
    random = torch.Generator().manual_seed(seed)
    parameters: Tensor = net.initialize(policies, random)
    return parameters + 0.3 * torch.randn(parameters.shape, generator=random)


def rows(policies: int = 2, batch: int = 7) -> tuple[Tensor, Tensor]:
    """Return observations and preferences."""
    random = torch.Generator().manual_seed(1)
    preferences = torch.rand(policies, batch, OBJECTIVES, generator=random)
    return torch.randn(policies, batch, SEEN, generator=random), preferences / preferences.sum(dim=2, keepdim=True)


def outputs(net: PolicySetNetwork, parameters: Tensor, seen: Tensor, preferences: Tensor) -> Tensor:
    return net(parameters, torch.cat([seen, preferences], dim=2))


def sets_of(net: PolicySetNetwork, parameters: Tensor) -> Tensor:
    """Return theta_k [policy, set, n]."""
    return parameters[:, : net.num_sets * net.base.num_parameters].view(len(parameters), net.num_sets, -1)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_row_has_the_network_of_its_preference(form: str, layer_norm: bool) -> None:
    """Against parameters that are written down for each row: theta(w) = sum_k c_k(w) theta_k."""
    net = network(form, layer_norm)
    parameters = perturbed(net)
    seen, preferences = rows()
    found = outputs(net, parameters, seen, preferences)
    theta = torch.einsum("pbk,pkn->pbn", net.coefficients(parameters, preferences), sets_of(net, parameters))
    alone = net.base(theta.flatten(0, 1), seen.flatten(0, 1).unsqueeze(1)).view(found.shape)
    torch.testing.assert_close(found, alone)
    assert (outputs(net, parameters, seen, preferences.flip(1)) - found).abs().max() > 1e-2
    for policy in range(2):
        part = slice(policy, policy + 1)
        torch.testing.assert_close(outputs(net, parameters[part], seen[part], preferences[part]), found[part])


def test_a_corner_of_a_combination_is_one_network_alone() -> None:
    net = network("combination")
    parameters = perturbed(net)
    seen, _ = rows()
    for objective in range(OBJECTIVES):
        corner = torch.eye(OBJECTIVES)[objective].expand(2, 7, OBJECTIVES)
        alone = net.base(sets_of(net, parameters)[:, objective], seen)
        torch.testing.assert_close(outputs(net, parameters, seen, corner), alone)


@pytest.mark.parametrize("form", FORMS)
def test_it_begins_as_a_plain_network_for_every_preference(form: str) -> None:
    """Its function is that of a fresh plain network of the same random numbers: it has the same distribution."""
    net = network(form)
    seen, preferences = rows()
    found = outputs(net, net.initialize(2, torch.Generator().manual_seed(0)), seen, preferences)
    plain = net.base.initialize(2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, net.base(plain, seen))
    found = outputs(net, net.initialize_orthogonal(2, torch.Generator().manual_seed(0), 0.1), seen, preferences)
    plain = net.base.initialize_orthogonal(2, torch.Generator().manual_seed(0), 0.1)
    torch.testing.assert_close(found, net.base(plain, seen))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_exact_and_reach_every_parameter(form: str) -> None:
    net = network(form, hidden=(3,))
    parameters = perturbed(net, policies=1).double().requires_grad_()
    seen, preferences = rows(policies=1, batch=4)
    inputs = torch.cat([seen, preferences], dim=2).double()
    assert torch.autograd.gradcheck(lambda values: net(values, inputs), (parameters,))
    (gradient,) = torch.autograd.grad(net(parameters, inputs).square().sum(), parameters)
    assert (gradient != 0.0).all()


@pytest.mark.parametrize("form", FORMS)
def test_it_learns_another_function_for_every_preference(form: str) -> None:
    """From equal sets, and from W = 0: towards y = (w_1 - w_2) x."""
    net = PolicySetNetwork(MultilayerPerceptron((1, 16, 1), activation="tanh"), SETS[form])
    random = torch.Generator().manual_seed(3)
    parameters = net.initialize(1, random).requires_grad_()
    optimizer = Adam(parameters)
    errors = []
    for _ in range(400):
        preferences = torch.distributions.Dirichlet(torch.ones(OBJECTIVES)).sample((1, 64))
        seen = torch.randn(1, 64, 1, generator=random)
        wanted = (preferences[..., :1] - preferences[..., 1:2]) * seen
        loss = (outputs(net, parameters, seen, preferences) - wanted).square().mean()
        optimizer.step(torch.autograd.grad(loss, parameters)[0], 0.01)
        errors.append(loss.item())
    assert sum(errors[-20:]) / 20 < 0.02 < errors[0]


def test_sizes_and_names() -> None:
    base = MultilayerPerceptron((SEEN, 8, 6, 2))
    combination = PolicySetNetwork(base, SETS["combination"])
    hyper = PolicySetNetwork(base, SETS["hyper"])
    phi = 64 * OBJECTIVES + 64 + 5 * 64 + 5
    assert combination.num_parameters == OBJECTIVES * base.num_parameters
    assert hyper.num_parameters == 6 * base.num_parameters + phi
    assert hyper.widths == (SEEN + OBJECTIVES, 8, 6, 2)
    assert hyper.unlike("relu") == "networks is 'hyper'"
    assert hyper.count_first(0) == 0
    with pytest.raises(ValueError, match="shared_layers is 1, but must be 0 where networks is 'hyper'"):
        hyper.count_first(1)


@pytest.mark.parametrize("form", FORMS)
def test_images_are_encoded_alike_for_all_preferences(form: str) -> None:
    image = ImageShape(1, 4, 4)
    net = Architecture(hidden_sizes=(8,), images=(image,), policy_set=SETS[form]).build("actor", 16 + 2 + OBJECTIVES, 2)
    assert isinstance(net, ImageNetwork)
    assert isinstance(net.head, PolicySetNetwork)
    parameters = perturbed(net)
    _, preferences = rows()
    pixels = torch.randint(256, (2, 7, 16), generator=torch.Generator().manual_seed(2)).float()
    inputs = torch.cat([pixels, torch.ones(2, 7, 2), preferences], dim=2)
    found = net(parameters, inputs)
    assert found.shape == (2, 7, 2)
    other = torch.cat([pixels, torch.ones(2, 7, 2), preferences.flip(1)], dim=2)
    assert (net(parameters, other) - found).abs().max() > 1e-3


def test_the_critics_of_td3_see_the_preference_as_an_input() -> None:
    plain, chosen = (
        TD3(SEEN + 3, 2, 3, TD3Settings(hidden_sizes=(8,), discount=0.9, policy_set=each), [0], torch.device("cpu"))
        for each in (None, SETS["hyper"])
    )
    assert chosen.critic == plain.critic
    assert isinstance(chosen.actor, PolicySetNetwork)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "networks:small"}, "networks is 'hyper', but network is 'networks:small': only plain layers"),
        ({"rows": RowShape(2, 3)}, "networks is 'hyper', but weights are shared over rows: only plain layers"),
    ],
)
def test_other_networks_cannot_be_mixed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(hidden_sizes=(4,), policy_set=SETS["hyper"], **changes)


def test_products_have_one_precision() -> None:
    architecture = Architecture(hidden_sizes=(4,), policy_set=SETS["hyper"])
    with pytest.raises(ValueError, match="precision is 'bfloat16', but must be another where networks is 'hyper'"):
        architecture.build("actor", 7, 2, torch.bfloat16)
