"""What is seen inside a network is what the network computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

import architectures
from orchestrator.errors import RecipeError
from orchestrator.learning.features import attribution, feature_maps

pytestmark = pytest.mark.filterwarnings("ignore")


def exported(network: nn.Module, bands: int) -> fx.GraphModule:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    return torch.export.export(network, (torch.zeros(2, bands, 101, 101),), dynamic_shapes=shapes).module()


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.slow
def test_the_maps_are_the_outputs_of_the_convolutions_in_their_order(name: str) -> None:
    network = architectures.create(name, bands=2).eval()
    image = torch.rand(2, 101, 101, generator=torch.Generator().manual_seed(0))
    seen: dict[str, Tensor] = {}
    for layer, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output, layer=layer: seen.__setitem__(layer, output[0].clone()))
    maps = feature_maps(exported(network, 2), image)
    seen.clear()
    with torch.no_grad():
        network(image[None])
    assert list(maps) == list(seen)
    for layer, expected in seen.items():
        torch.testing.assert_close(maps[layer], expected, atol=1e-4, rtol=1e-4)


def test_layers_are_chosen_by_name_and_a_wrong_one_is_refused() -> None:
    network = exported(architectures.create("lens_flow", bands=1).eval(), 1)
    image = torch.rand(1, 101, 101)
    assert list(feature_maps(network, image, ("features.4",))) == ["features.4"]
    with pytest.raises(RecipeError, match=r"no convolution 'features\.5'.*features\.4"):
        feature_maps(network, image, ("features.5",))


def test_what_the_pixels_add_is_the_logit_above_that_of_the_sky() -> None:
    network = architectures.create("lens_flow", bands=2).eval()
    image = torch.zeros(2, 101, 101)
    image[0, 40:60, 40:60] = 1.0
    explained = attribution(exported(network, 2), image)
    with torch.no_grad():
        difference = float(network(image[None]) - network(torch.zeros(1, 2, 101, 101)))
    assert float(explained.sum()) == pytest.approx(difference, rel=0.02)
    outside = torch.ones(2, 101, 101, dtype=torch.bool)
    outside[0, 40:60, 40:60] = False
    assert (explained[outside] == 0).all()  # sky has no part in it
