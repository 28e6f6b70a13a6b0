"""CMU DeepLens: fifteen residual blocks.

Source: Lanusse et al. 2018; LEXACTUM appendix A3, figures A3 and A4.
Input: (batch, bands, size, size), size 17 or more. Parameters with the running statistics: 3,526,721 with 1 band,
3,531,425 with 4; trainable 11,008 fewer.
Where the appendix is silent: bottlenecks of 1×1, 3×3 and 1×1 with n/2, n/2 and n maps, average pooling 2×2.
LEXACTUM's code has a further ELU after every convolution of a block; neither paper has, nor has this network.
"""

import itertools

from torch import Tensor, nn

from architectures._blocks import Bottleneck, batch_norm, conv, flat_features, initialise


class Network(nn.Module):
    """Hyperparameter: maps of the first group of blocks; each further group doubles them."""

    def __init__(self, bands: int, size: int, *, width: int = 32) -> None:
        super().__init__()
        groups = [width * 2**group for group in range(5)]
        blocks: list[nn.Module] = [Bottleneck(width, width) for _ in range(3)]
        for inputs, maps in itertools.pairwise(groups):
            blocks += [Bottleneck(inputs, maps, downsample=True), Bottleneck(maps, maps), Bottleneck(maps, maps)]
        self.features = nn.Sequential(
            *(conv(bands, width, 7), nn.ELU(inplace=True), batch_norm(width)),
            *blocks,
            nn.AvgPool2d(2),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(flat_features(self.features, bands, size), 1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch,)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits.squeeze(1)
