"""What several networks share: Keras's defaults, with which LEXACTUM's numbers were made, and the residual block."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(inputs: int, maps: int, kernel: int, *, stride: int = 1, padding: str = "same") -> nn.Module:
    """A convolution whose ``same`` padding puts the odd pixel of an even kernel at the end, as Keras does."""
    if padding == "valid":
        return nn.Conv2d(inputs, maps, kernel, stride)
    if kernel % 2:
        return nn.Conv2d(inputs, maps, kernel, stride, padding=kernel // 2)
    before, after = (kernel - 1) // 2, kernel // 2
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(inputs, maps, kernel, stride))


def relu_max_pool(size: int) -> tuple[nn.Module, nn.Module]:
    """ReLU and max pooling, the pooling first: it gives the same to the bit, and ReLU has size² times less to do."""
    return nn.MaxPool2d(size), nn.ReLU(inplace=True)


def batch_norm(maps: int) -> nn.BatchNorm2d:
    """Keras's eps 1e-3 and moving average 0.99."""
    return nn.BatchNorm2d(maps, eps=1e-3, momentum=0.01)


def initialise(network: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, for every convolution and fully-connected layer."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def flat_features(features: nn.Module, bands: int, size: int) -> int:
    """How many numbers the flattened output of `features` has; ValueError where nothing is left of the image."""
    training = features.training
    try:
        with torch.no_grad():
            count: int = features.eval()(torch.zeros(1, bands, size, size)).numel()
    except RuntimeError:
        count = 0
    features.train(training)
    if count == 0:
        raise ValueError(f"images of {size} x {size} pixels are too small for it")
    return count


class Bottleneck(nn.Module):
    """The pre-activation residual block of CMU DeepLens: three times batch norm, ELU, convolution.

    Kernels 1, 3 and 1 with n/2, n/2 and n maps. A downsampling block has stride 2 in its first convolution, and
    its shortcut is a 1×1 convolution with stride 2 behind the first activation. Source: Lanusse et al. 2018.
    """

    def __init__(self, inputs: int, maps: int, *, downsample: bool = False) -> None:
        super().__init__()
        stride, narrow = (2 if downsample else 1), max(1, maps // 2)
        self.activate = nn.Sequential(batch_norm(inputs), nn.ELU(inplace=True))
        self.residual = nn.Sequential(
            conv(inputs, narrow, 1, stride=stride),
            batch_norm(narrow),
            nn.ELU(inplace=True),
            conv(narrow, narrow, 3),
            batch_norm(narrow),
            nn.ELU(inplace=True),
            conv(narrow, maps, 1),
        )
        self.shortcut = conv(inputs, maps, 1, stride=stride) if downsample else None

    def forward(self, x: Tensor) -> Tensor:
        """Keep or halve the resolution of (batch, inputs, h, w)."""
        activated = self.activate(x)
        kept: Tensor = x if self.shortcut is None else self.shortcut(activated)
        summed: Tensor = self.residual(activated).add_(kept)
        return summed
