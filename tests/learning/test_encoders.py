"""Networks of a population: activations, convolutions, the user's own modules; and how observations become rows."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from gymnasium import spaces
from networks import Joined
from torch import Tensor, nn

from morl.learning.encoders import Architecture
from morl.learning.image_networks import (
    MIDDLE,
    NATURE,
    SMALL,
    ImageEncoder,
    ImageNetwork,
    convolve,
    convolve_grouped,
    default_layers,
)
from morl.learning.observations import observation_encoder, shrink
from morl.learning.types import Activation, Convolution, ImageLayers, ImageShape, NetworkShape

SMALL_IMAGE = ImageShape(3, 5, 6)
GRAY = ImageShape(1, 4, 4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def architecture(**changes: Any) -> Architecture:
    settings: dict[str, Any] = {"hidden_sizes": (7,), "images": (SMALL_IMAGE, GRAY)}
    return Architecture(**settings | changes)


WIDTH = SMALL_IMAGE.pixels + GRAY.pixels + 4


def rows(policies: int, batch: int = 6) -> Tensor:
    pixels = torch.randint(256, (policies, batch, WIDTH - 4), generator=generator(5)).float()
    return torch.cat([pixels, torch.randn(policies, batch, 4, generator=generator(6))], dim=2)


NETWORKS: dict[str, Architecture] = {
    "images": architecture(),
    "own": architecture(network="networks:small"),
    "own convolutions": architecture(network="networks:convolutional"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("orthogonal", [False, True])
def test_policies_in_one_batch_are_policies_one_by_one(name: str, orthogonal: bool) -> None:
    network = NETWORKS[name].build("actor", WIDTH, 3)
    if orthogonal:
        parameters = network.initialize_orthogonal(3, generator(), last_gain=0.1)
    else:
        parameters = network.initialize(3, generator())
    assert parameters.shape == (3, network.num_parameters)
    assert not torch.equal(parameters[0], parameters[1])
    parameters.requires_grad_()
    inputs = rows(3)
    together = network(parameters, inputs)
    assert together.shape == (3, 6, 3)
    (gradient,) = torch.autograd.grad(together.square().sum(), parameters)
    for policy in range(3):
        own = parameters[policy : policy + 1].detach().requires_grad_()
        alone = network(own, inputs[policy : policy + 1])
        torch.testing.assert_close(alone[0], together[policy], rtol=1e-5, atol=1e-5)
        (own_gradient,) = torch.autograd.grad(alone.square().sum(), own)
        torch.testing.assert_close(own_gradient[0], gradient[policy], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_grouped_convolutions_equal_those_one_by_one(stride: int) -> None:
    images = torch.randn(3, 4, 2, 7, 6, generator=generator())
    weights = torch.randn(3, 5, 2, 3, 3, generator=generator(1))
    biases = torch.randn(3, 5, generator=generator(2))
    expected = convolve(images, weights, biases, stride)
    torch.testing.assert_close(convolve_grouped(images, weights, biases, stride), expected, rtol=1e-5, atol=1e-5)


def test_an_image_network_is_the_torch_module_of_the_same_layers() -> None:
    layers = ImageLayers((Convolution(4, 3, 1), Convolution(2, 2, 2)), 9)
    network = architecture(images=(SMALL_IMAGE,), image_layers=(layers,), activation="silu").build("actor", 92, 3)
    first = nn.Conv2d(3, 4, 3)
    second = nn.Conv2d(4, 2, 2, 2)
    features = nn.Linear(2 * 1 * 2, 9)
    hidden = nn.Linear(9 + 2, 7)
    output = nn.Linear(7, 3)
    parts = []
    for part in (first, second):
        parts += [part.weight.flatten(), part.bias]
    for layer in (features, hidden, output):
        parts += [layer.weight.T.flatten(), layer.bias]
    parameters = torch.cat(parts).unsqueeze(0)
    pixels = torch.randint(256, (8, SMALL_IMAGE.pixels), generator=generator()).float()
    numbers = torch.randn(8, 2, generator=generator(1))
    images = (pixels / 255.0).view(8, 3, 5, 6)
    encoded = features(second(first(images).relu()).relu().flatten(1)).relu()
    expected = output(nn.functional.silu(hidden(torch.cat([encoded, numbers], dim=1))))
    found = network(parameters, torch.cat([pixels, numbers], dim=1).unsqueeze(0))
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


MODULES: dict[Activation, nn.Module] = {
    "relu": nn.ReLU(),
    "tanh": nn.Tanh(),
    "silu": nn.SiLU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "leaky-relu": nn.LeakyReLU(),
}


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_activations_and_normalization(activation: Activation, normalization: Any) -> None:
    settings: dict[str, Any] = {"activation": activation, "normalization": normalization}
    network = Architecture(hidden_sizes=(7,), **settings).build("actor", 4, 2)
    parameters = network.initialize(1, generator())
    hidden, hidden_bias, output, bias = torch.split(parameters[0], [28, 7, 14, 2])
    inputs = torch.randn(1, 5, 4, generator=generator(1))
    sums = inputs[0] @ hidden.view(4, 7) + hidden_bias
    if normalization == "layer":
        sums = nn.functional.layer_norm(sums, (7,))
    expected = MODULES[activation](sums) @ output.view(7, 2) + bias
    torch.testing.assert_close(network(parameters, inputs)[0], expected, rtol=1e-5, atol=1e-6)


def test_layers_follow_the_size_of_an_image() -> None:
    assert default_layers(ImageShape(3, 84, 84)) == default_layers(ImageShape(3, 36, 100)) == NATURE
    assert default_layers(ImageShape(3, 35, 84)) == default_layers(ImageShape(1, 16, 16)) == MIDDLE
    assert default_layers(ImageShape(3, 15, 84)) == default_layers(ImageShape(1, 3, 3)) == SMALL
    for layers, smallest in ((NATURE, 36), (MIDDLE, 16), (SMALL, 3)):
        assert ImageEncoder(ImageShape(2, smallest, smallest), layers).num_parameters > 0


def test_the_first_layers_of_an_image_network_include_its_encoders() -> None:
    network = architecture().build("actor", WIDTH, 3)
    assert isinstance(network, ImageNetwork)
    encoders = sum(encoder.num_parameters for encoder in network.encoders)
    assert network.count_first(1) == encoders + (128 + 128 + 4 + 1) * 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "sine"}, "activation is 'sine', but must be one of relu, tanh"),
        ({"normalization": "batch"}, "normalization is 'batch', but must be one of none, layer"),
        ({"network": "small"}, "network is 'small', but must be your own 'module:factory'"),
        ({"network": "networks:nothing"}, "network is 'networks:nothing', but it cannot be imported"),
        ({"network": "no_such_module:nothing"}, "cannot be imported: No module named 'no_such_module'"),
        ({"network": "networks:not_a_function"}, "but that is neither a class nor a function"),
        ({"network": "networks:no_module"}, "but it returns NetworkShape.*, no torch.nn.Module"),
        ({"network": "networks:failing"}, "raises RuntimeError: no idea how to make 3 outputs"),
        ({"network": "networks:with_batch_norm"}, "but it has BatchNorm1d"),
        ({"network": "networks:too_narrow", "images": ()}, r"returns shape \(2, 2\) instead of \(2, 3\)"),
        ({"network": "networks:convolutional", "images": ()}, "raises IndexError"),
        ({"image_layers": (SMALL,)}, "image_layers is for 1 images, but there are 2"),
        ({"image_layers": (SMALL, ImageLayers((Convolution(3, 5, 1),), 4))}, "fits into an image of 4 x 4"),
    ],
)
def test_networks_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        architecture(**changes).build("actor", WIDTH, 3)


def test_the_factory_is_told_what_the_network_is_for() -> None:
    network = architecture(network="networks:small", activation="elu").build("critic", WIDTH, 3)
    assert network.shape == NetworkShape(  # type: ignore[attr-defined]
        role="critic",
        images=(SMALL_IMAGE, GRAY),
        columns=4,
        outputs=3,
        hidden_sizes=(7,),
        activation="elu",
        normalization="none",
    )
    module = Joined(network.shape)  # type: ignore[attr-defined]
    assert network.num_parameters == sum(parameter.numel() for parameter in module.parameters())
    with pytest.raises(ValueError, match="network is 'networks:small', but shared_layers is 1"):
        network.count_first(1)


def test_building_a_network_leaves_the_random_numbers_of_torch_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    network = architecture(network="networks:small").build("critic", WIDTH, 3)
    one = network.initialize(2, generator())
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(network.initialize(2, generator()), one)


# --- Observations -----------------------------------------------------------------------------------------------------


def image(*shape: int, high: int = 255, dtype: Any = np.uint8) -> spaces.Box:
    return spaces.Box(0, high, shape, dtype)


IMAGES: dict[str, tuple[spaces.Box, ImageShape, tuple[int, ...]]] = {
    "channels last": (image(5, 6, 3), ImageShape(3, 5, 6), (2, 0, 1)),
    "channels first": (image(3, 5, 6), ImageShape(3, 5, 6), (0, 1, 2)),
    "as many channels as rows": (image(4, 4, 4), ImageShape(4, 4, 4), (2, 0, 1)),
    "gray": (image(8, 9), ImageShape(1, 8, 9), (0, 1)),
    "stacked gray frames": (image(4, 8, 9), ImageShape(4, 8, 9), (0, 1, 2)),
    "stacked frames": (image(4, 8, 9, 3), ImageShape(12, 8, 9), (0, 3, 1, 2)),
    "stacked frames, channels first": (image(4, 3, 8, 9), ImageShape(12, 8, 9), (0, 1, 2, 3)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_become_channels_rows_and_columns(name: str) -> None:
    space, shape, axes = IMAGES[name]
    encoder = observation_encoder(space)
    assert encoder.images == (shape,)
    assert encoder.width == encoder.pixels == shape.pixels
    assert encoder.columns == 0
    space.seed(0)
    single = space.sample()
    found = encoder.encode(np.stack([single, space.sample()]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], single.transpose(axes).ravel())


NO_IMAGES = {
    "floats": spaces.Box(0.0, 255.0, (8, 8, 3), np.float32),
    "wider integers": image(8, 8, 3, dtype=np.int32),
    "a row of bytes": image(128),
    "a narrow box": image(9, 2, 3),
    "a small table": image(7, 9),
    "a table of other numbers": image(8, 9, high=9),
    "five axes": image(2, 2, 8, 8, 3),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_other_boxes_are_numbers(name: str) -> None:
    encoder = observation_encoder(NO_IMAGES[name])
    assert encoder.images == ()
    assert encoder.columns == encoder.width == np.prod(NO_IMAGES[name].shape)


def test_without_a_size_pixels_are_numbers() -> None:
    encoder = observation_encoder(image(5, 6, 3), image_size=0)
    assert encoder.images == ()
    single = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    np.testing.assert_array_equal(encoder.encode(single[None])[0], single.ravel())


def test_a_size_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size is 40, but has no effect: there are no images in Discrete"):
        observation_encoder(spaces.Discrete(3), image_size=40)


def test_images_of_parts_come_first_in_a_row() -> None:
    numbers = spaces.Box(-1.0, 1.0, (2,), np.float32)
    space = spaces.Dict(
        {
            "a": numbers,
            "b": spaces.Tuple((image(5, 5, 1), spaces.Discrete(3, start=1))),
            "c": spaces.Dict({"eye": image(1, 6, 6)}),
        }
    )
    encoder = observation_encoder(space)
    assert encoder.images == (ImageShape(1, 5, 5), ImageShape(1, 6, 6))
    assert (encoder.pixels, encoder.columns) == (61, 5)
    batch = {
        "a": np.array([[0.5, -0.5]], np.float32),
        "b": (np.full((1, 5, 5, 1), 7, np.uint8), np.array([2])),
        "c": {"eye": np.full((1, 1, 6, 6), 9, np.uint8)},
    }
    np.testing.assert_array_equal(encoder.encode(batch)[0], [*[7] * 25, *[9] * 36, 0.5, -0.5, 0, 1, 0])


def test_large_images_are_shrunk_to_means_of_blocks() -> None:
    picture = np.random.default_rng(0).integers(256, size=(2, 3, 6, 4)).astype(np.uint8)
    means = picture.reshape(2, 3, 3, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(shrink(picture, 2), means, atol=0.5)
    edges = shrink(picture[..., :5, :3], 2)  # what is missing is filled up with the last row and column
    assert edges.shape == (2, 3, 3, 2)
    assert edges[0, 0, 2, 1] == picture[0, 0, 4, 2]
    bright = np.full((1, 1, 20, 20), 255, np.uint8)
    assert (shrink(bright, 20) == 255).all()

    encoder = observation_encoder(image(480, 480, 3), image_size=84)
    assert encoder.images == (ImageShape(3, 80, 80),)
    assert observation_encoder(image(100, 90, 1), image_size=50).images == (ImageShape(1, 50, 45),)
    assert observation_encoder(image(84, 84, 1)).images == (ImageShape(1, 84, 84),)
