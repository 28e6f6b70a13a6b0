"""The layers of each network, in order, as appendix A of the LEXACTUM paper words them.

Max pooling stands before the ReLU that the appendix has before it; test_blocks shows that this changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from torch import nn

import architectures
from architectures._blocks import Bottleneck

APPENDIX = {
    "cas_swinburne": """conv11:96 relu max3 conv5:128 relu max3 conv3:256 relu max3 flatten
        full:1024 relu drop0.5 full:1024 relu drop0.5 full:1""",
    "cmu_deeplens": """conv7:32 elu norm block32 block32 block32 block64/2 block64 block64 block128/2 block128 block128
        block256/2 block256 block256 block512/2 block512 block512 average2 flatten full:1""",
    "lastro_epfl": """conv4:16 relu conv3:16 relu max2 norm conv3:32 relu conv3:32 relu max2 norm
        conv3:64 relu conv3:64 relu max2 norm drop0.1 conv3:128 relu drop0.1 conv3:128 relu norm drop0.1 flatten
        full:1024 relu drop0.1 full:1024 relu drop0.1 full:1024 relu norm full:1""",
    "lens_finder": "conv5:64 relu max2 conv3:128 relu max2 flatten full:128 relu drop0.0 full:1",
    "lens_flow": """average3 conv5:16 relu max2 conv5:25 relu max2 conv4:36 relu max2 flatten
        full:128 relu drop0.5 full:1""",
    "wsi_net": """conv7:32 elu block32 block64/2 conv1:32 elu norm relu conv5:32 elu norm relu max2 flatten
        full:256 full:1""",
}


def words(module: nn.Module) -> Iterator[str]:
    match module:
        case Bottleneck():
            maps = module.residual[-1].out_channels
            yield f"block{maps}/2" if module.shortcut is not None else f"block{maps}"
        case nn.Conv2d():
            assert module.stride == (1, 1)
            yield f"conv{module.kernel_size[0]}:{module.out_channels}"
        case nn.MaxPool2d() | nn.AvgPool2d():
            assert module.stride == module.kernel_size
            yield f"{'max' if isinstance(module, nn.MaxPool2d) else 'average'}{module.kernel_size}"
        case nn.Linear():
            yield f"full:{module.out_features}"
        case nn.Dropout():
            yield f"drop{module.p}"
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            yield "norm"
        case nn.ReLU() | nn.ELU() | nn.Flatten():
            yield type(module).__name__.lower()
        case nn.ZeroPad2d():
            pass  # belongs to the convolution behind it
        case _:
            assert list(module.children()), f"{module} has no word"
            for child in module.children():
                yield from words(child)


@pytest.mark.parametrize("name", APPENDIX)
def test_the_layers_are_those_of_the_appendix(name: str) -> None:
    found = " ".join(words(architectures.create(name, bands=1)))
    assert re.sub(r"(max\d) relu", r"relu \1", found).split() == APPENDIX[name].split()
