"""LensFlow: three small convolutions on a coarse image; by far the fastest of the six.

Source: Pourrahmani et al. 2018; LEXACTUM appendix A5 and figure A6.
Input: (batch, bands, size, size), size 24 or more. Parameters: 98,862 with 1 band, 100,062 with 4.
Where the appendix is silent: "same" padding, and a ReLU behind each convolution.
"""

from torch import Tensor, nn

from architectures._blocks import conv, flat_features, initialise, relu_max_pool


class Network(nn.Module):
    """Hyperparameters: neurons of the wide layer, and the dropout behind it."""

    def __init__(self, bands: int, size: int, *, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.AvgPool2d(3),
            *(conv(bands, 16, 5), *relu_max_pool(2)),
            *(conv(16, 25, 5), *relu_max_pool(2)),
            *(conv(25, 36, 4), *relu_max_pool(2)),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(flat_features(self.features, bands, size), hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, 1),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch,)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits.squeeze(1)
