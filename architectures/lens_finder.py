"""Lens Finder: two convolutions and one wide layer.

Source: Pearson et al. 2018; LEXACTUM appendix A6 and figure A7.
Input: (batch, bands, size, size), size 4 or more. Parameters: 10,315,777 with 1 band, 10,320,577 with 4.
Where the appendix is silent: "same" padding and pooling 2×2. One logit stands for the two classes of Pearson et al.
"""

from torch import Tensor, nn

from architectures._blocks import conv, flat_features, initialise, relu_max_pool


class Network(nn.Module):
    """Hyperparameters: neurons of the wide layer, and a dropout behind it that the source does not have."""

    def __init__(self, bands: int, size: int, *, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv(bands, 64, 5), *relu_max_pool(2)),
            *(conv(64, 128, 3), *relu_max_pool(2)),
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
