"""CAS Swinburne: three convolutions and two wide layers, after AlexNet.

Source: Jacobs et al. 2017; LEXACTUM appendix A1 and figure A1.
Input: (batch, bands, size, size), size 27 or more. Parameters: 4,025,153 with 1 band, 4,060,001 with 4.
Where the appendix is silent: "same" padding, stride 1, pooling with stride 3, as in LEXACTUM's code.
"""

from torch import Tensor, nn

from architectures._blocks import conv, flat_features, initialise, relu_max_pool


class Network(nn.Module):
    """Hyperparameters: neurons of the wide layers, and the dropout behind each."""

    def __init__(self, bands: int, size: int, *, hidden: int = 1024, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv(bands, 96, 11), *relu_max_pool(3)),
            *(conv(96, 128, 5), *relu_max_pool(3)),
            *(conv(128, 256, 3), *relu_max_pool(3)),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(flat_features(self.features, bands, size), hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, 1),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch,)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits.squeeze(1)
