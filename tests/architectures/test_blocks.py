"""The parts that networks share, against computations of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import elu

from architectures._blocks import Bottleneck, conv, flat_features, relu_max_pool


def keras_same(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Keras's `padding="same"` with stride 1, pixel by pixel: the odd one of the added pixels is at the end."""
    size = len(kernel)
    before = (size - 1) // 2
    padded = np.zeros([side + size - 1 for side in image.shape])
    padded[before : before + image.shape[0], before : before + image.shape[1]] = image
    result = np.zeros(image.shape)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            result[y, x] = (padded[y : y + size, x : x + size] * kernel).sum()
    return result


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, 11])
@pytest.mark.parametrize("size", [12, 13])
def test_same_padding_is_that_of_keras_for_odd_and_even_kernels(kernel: int, size: int) -> None:
    layer = conv(1, 1, kernel).double()
    weight, bias = (each.detach().numpy() for each in layer.parameters())
    image = np.random.default_rng(kernel).normal(size=(size, size))
    result = layer(torch.from_numpy(image)[None, None]).detach().numpy()[0, 0]
    np.testing.assert_allclose(result, keras_same(image, weight[0, 0]) + bias, atol=1e-12)


def test_valid_padding_keeps_only_pixels_whose_neighbours_are_all_there() -> None:
    assert conv(1, 2, 4, padding="valid")(torch.zeros(1, 1, 10, 10)).shape == (1, 2, 7, 7)


def normalised(features: torch.Tensor) -> torch.Tensor:
    """Batch norm while training, with its weights as they begin."""
    mean = features.mean(dim=(0, 2, 3), keepdim=True)
    variance = features.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    return (features - mean) / torch.sqrt(variance + 1e-3)


@pytest.mark.parametrize("downsample", [False, True])
def test_the_residual_block_activates_before_each_convolution_and_nowhere_else(downsample: bool) -> None:
    torch.manual_seed(0)
    inputs, maps = (4, 8) if downsample else (8, 8)
    block = Bottleneck(inputs, maps, downsample=downsample).double()
    x = torch.randn(3, inputs, 9, 9, dtype=torch.float64)
    first, second, third = (each for each in block.residual if isinstance(each, torch.nn.Conv2d))
    activated = elu(normalised(x))
    expected = third(elu(normalised(second(elu(normalised(first(activated)))))))
    expected += x if block.shortcut is None else block.shortcut(activated)
    torch.testing.assert_close(block(x), expected)
    assert [each.kernel_size for each in (first, second, third)] == [(1, 1), (3, 3), (1, 1)]
    assert expected.shape == ((3, 8, 5, 5) if downsample else (3, 8, 9, 9))


@pytest.mark.parametrize("size", [2, 3])
def test_relu_behind_max_pooling_gives_what_it_gives_before_to_the_bit(size: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 13, 13).round(decimals=1)  # so that many are equal, and many windows all negative
    maps[:, :, :4, :4] = 0
    maps[0, 0, 6, 6] = torch.nan
    results, gradients = [], []
    for layers in (relu_max_pool(size), (torch.nn.ReLU(), torch.nn.MaxPool2d(size))):
        x = maps.clone().requires_grad_()
        result = torch.nn.Sequential(*layers)(x)
        result.backward(torch.arange(result.numel()).reshape(result.shape))
        results.append(result)
        gradients.append(x.grad)
    for one, other in (results, gradients):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_asking_for_the_number_of_features_leaves_no_trace() -> None:
    features = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Flatten()).train()
    before = {key: value.clone() for key, value in features.state_dict().items()}
    assert flat_features(features, 2, 5) == 50
    assert features.training
    assert features[0].training
    for key, value in features.state_dict().items():
        assert torch.equal(value, before[key])
