"""WSI-Net: the detecting half of a network for whole-slide images of tissue.

Source: Ni et al. 2019; LEXACTUM appendix A4 and figure A5.
Input: (batch, bands, size, size), size 3 or more. Parameters with 1 band, the running statistics among them:
5,168,641 as the paper has it; 2,608,385 with `hidden=128`, which is what LEXACTUM's code has.
Where the appendix is silent: bottlenecks 32 → 32 and 32 → 64 (stride 2), "same" padding, pooling 2×2, nothing
behind the wide layer. Batch norm stands where Ni et al. have group norm, as in the appendix.
"""

from torch import Tensor, nn

from architectures._blocks import Bottleneck, batch_norm, conv, flat_features, initialise, relu_max_pool


class Network(nn.Module):
    """Hyperparameters: maps of most layers, and neurons of the wide layer."""

    def __init__(self, bands: int, size: int, *, width: int = 32, hidden: int = 256) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv(bands, width, 7), nn.ELU(inplace=True)),
            Bottleneck(width, width),
            Bottleneck(width, 2 * width, downsample=True),
            *(conv(2 * width, width, 1), nn.ELU(inplace=True), batch_norm(width), nn.ReLU(inplace=True)),
            *(conv(width, width, 5), nn.ELU(inplace=True), batch_norm(width), *relu_max_pool(2)),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(flat_features(self.features, bands, size), hidden), nn.Linear(hidden, 1)
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch,)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits.squeeze(1)
