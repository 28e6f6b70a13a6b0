"""Looks inside a network: what each convolution makes of an image, and which pixels made the score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from orchestrator.errors import RecipeError, one_of

STEPS = 64
"""Points along the path of `attribution`."""


def convolutions(finder: fx.GraphModule) -> dict[str, fx.Node]:
    """The convolutions of an exported finder in the order they are computed, by their name in its network."""
    found: dict[str, fx.Node] = {}
    for node in finder.graph.nodes:
        if node.target is torch.ops.aten.conv2d.default:
            layers = list(node.meta.get("nn_module_stack", {}).values())
            found[layers[-1][0].removeprefix("network.") if layers else node.name] = node
    return found


def feature_maps(finder: fx.GraphModule, flux: Tensor, layers: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """What convolutions give for one image.

    Args:
        finder: exported by torch.export, as registered models are.
        flux: (bands, size, size).
        layers: names of convolutions; none means all.

    Returns:
        Layer → (maps, h, w), before whatever follows the convolution.

    Raises:
        RecipeError: no such layer; it lists those there are.
    """
    nodes = convolutions(finder)
    for layer in layers:
        if layer not in nodes:
            raise RecipeError(one_of("convolution", layer, tuple(nodes)))
    wanted = {node: layer for layer, node in nodes.items() if not layers or layer in layers}
    maps: dict[str, Tensor] = {}

    class Watching(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in wanted:
                maps[wanted[n]] = result[0].detach().clone()
            return result

    with torch.no_grad():
        Watching(finder).run(flux[None])
    return maps


def attribution(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """By how much each pixel of a normalised image moved the logit, away from that of sky: (bands, size, size).

    Above 0 is towards a lens. The values add up to the difference of the two logits, but for the error of `STEPS`
    steps. The sky is the image's median, band by band. Source: Sundararajan et al. 2017, integrated gradients.
    """
    from captum.attr import IntegratedGradients

    sky = image.flatten(1).median(dim=1).values[:, None, None].expand_as(image)
    explained: Tensor = IntegratedGradients(network).attribute(
        image[None], sky[None].contiguous(), n_steps=STEPS, internal_batch_size=16
    )
    return explained[0].detach().float()
