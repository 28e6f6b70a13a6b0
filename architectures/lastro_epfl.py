"""LASTRO EPFL: eight convolutions with batch norm, three wide layers.

Source: Schaefer et al. 2018; LEXACTUM appendix A2 and figure A2.
Input: (batch, bands, size, size), size 69 or more. Parameters with the running statistics: 5,676,449 with 1 band,
5,677,217 with 4; trainable 2,528 fewer.
Where the appendix is silent: "valid" padding, pooling 2×2, dropout 0.1, wide layers of 1,024, as in LEXACTUM's code.
"""

from torch import Tensor, nn

from architectures._blocks import batch_norm, conv, flat_features, initialise, relu_max_pool


class Network(nn.Module):
    """Hyperparameters: neurons of the wide layers, and every dropout."""

    def __init__(self, bands: int, size: int, *, hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(bands, 16, first_kernel=4),
            *_block(16, 32),
            *_block(32, 64),
            nn.Dropout(dropout),
            *(conv(64, 128, 3, padding="valid"), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(conv(128, 128, 3, padding="valid"), nn.ReLU(inplace=True), batch_norm(128), nn.Dropout(dropout)),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(flat_features(self.features, bands, size), hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.BatchNorm1d(hidden, eps=1e-3, momentum=0.01)),
            nn.Linear(hidden, 1),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch,)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits.squeeze(1)


def _block(inputs: int, maps: int, first_kernel: int = 3) -> tuple[nn.Module, ...]:
    return (
        *(conv(inputs, maps, first_kernel, padding="valid"), nn.ReLU(inplace=True)),
        *(conv(maps, maps, 3, padding="valid"), *relu_max_pool(2)),
        batch_norm(maps),
    )
