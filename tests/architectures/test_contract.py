"""What holds for every network: each test runs over every file of `architectures/`."""

from __future__ import annotations

import ast
import copy
import importlib
import math
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

import architectures

NAMES = architectures.names()

COUNTS = {
    ("cas_swinburne", 1): (4_025_153, 4_025_153),
    ("cas_swinburne", 4): (4_060_001, 4_060_001),
    ("cmu_deeplens", 1): (3_515_713, 3_526_721),
    ("cmu_deeplens", 4): (3_520_417, 3_531_425),
    ("lastro_epfl", 1): (5_673_921, 5_676_449),
    ("lastro_epfl", 4): (5_674_689, 5_677_217),
    ("lens_finder", 1): (10_315_777, 10_315_777),
    ("lens_finder", 4): (10_320_577, 10_320_577),
    ("lens_flow", 1): (98_862, 98_862),
    ("lens_flow", 4): (100_062, 100_062),
    ("wsi_net", 1): (5_168_193, 5_168_641),
    ("wsi_net", 4): (5_172_897, 5_173_345),
}
"""(network, bands) → trainable parameters, and those with batch norm's running statistics, of the paper's six."""

every_network = pytest.mark.parametrize("name", NAMES)


def count(network: nn.Module) -> tuple[int, int]:
    trainable = sum(each.numel() for each in network.parameters())
    running = sum(each.numel() for key, each in network.named_buffers() if "running" in key)
    return trainable, trainable + running


def documentation(name: str) -> str:
    return importlib.import_module(f"architectures.{name}").__doc__ or ""


def smallest(name: str) -> int:
    found = re.search(r"size (\d+) or more", documentation(name))
    assert found, f"{name} says `size N or more` nowhere"
    return int(found[1])


@cache
def small(name: str, bands: int = 1) -> nn.Module:
    """Made once for the tests that leave it as it is, for the smallest images it takes."""
    torch.manual_seed(1)
    return architectures.create(name, bands=bands, size=smallest(name)).eval()


def images(name: str, count: int, bands: int = 1) -> torch.Tensor:
    return torch.randn(count, bands, smallest(name), smallest(name), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("name", "bands"), COUNTS)
def test_a_network_has_as_many_parameters_as_the_original(name: str, bands: int) -> None:
    assert count(architectures.create(name, bands=bands)) == COUNTS[name, bands]


@pytest.mark.parametrize(("bands", "expected"), [(1, 2_608_385), (4, 2_613_089)])
def test_wsi_net_with_half_the_neurons_is_the_one_lexactum_ran(bands: int, expected: int) -> None:
    assert count(architectures.create("wsi_net", bands=bands, hidden=128))[1] == expected


@every_network
def test_the_documentation_names_source_input_and_parameters(name: str) -> None:
    text = documentation(name)
    for part in ("Source: ", "Input: (batch, bands, size, size)", "Parameters"):
        assert part in text
    assert f"{count(architectures.create(name, bands=1))[1]:,}" in text


@every_network
def test_the_documented_size_is_the_smallest_that_works(name: str) -> None:
    assert architectures.create(name, bands=1, size=smallest(name))
    size = smallest(name) - 1
    with pytest.raises(ValueError, match=f"{name}: images of {size} x {size} pixels are too small"):
        architectures.create(name, bands=1, size=size)


@every_network
def test_a_network_imports_torch_and_the_shared_blocks_alone(name: str) -> None:
    tree = ast.parse((Path(architectures.__file__).parent / f"{name}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {module for module in imported if module.partition(".")[0] not in sys.stdlib_module_names}
    assert ours <= {"torch", "torch.nn.functional", "architectures._blocks"}


def test_the_names_are_known_without_importing_torch() -> None:
    code = "import sys, architectures; print(architectures.names()); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(NAMES)


@every_network
@pytest.mark.parametrize("bands", [1, 4])
def test_logits_are_one_finite_number_an_image(name: str, bands: int) -> None:
    logits = small(name, bands)(images(name, 3, bands))
    assert logits.shape == (3,)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_network
def test_logits_depend_on_the_image_and_not_on_its_company(name: str) -> None:
    batch = images(name, 5)
    with torch.no_grad():
        together = small(name)(batch)
        assert torch.equal(together, small(name)(batch))
        alone = torch.cat([small(name)(each[None]) for each in batch])
    assert together.unique().numel() == 5
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


@every_network
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    network = architectures.create(name, bands=1, size=smallest(name)).train()
    network(images(name, 8)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        if parameter.ndim > 1:  # a bias in front of batch norm has no effect
            assert parameter.grad.any(), key


@every_network
def test_activations_in_place_spoil_nothing_that_a_gradient_needs(name: str) -> None:
    network = architectures.create(name, bands=1, size=smallest(name)).double().train()
    other = copy.deepcopy(network)
    for module in other.modules():
        if isinstance(module, (nn.ReLU, nn.ELU)):
            module.inplace = False
    for each in (network, other):
        torch.manual_seed(3)  # of dropout
        each(images(name, 4).double()).square().sum().backward()
    torch.testing.assert_close(network.state_dict(), other.state_dict(), rtol=0, atol=0)
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)


@every_network
@pytest.mark.slow
def test_a_network_learns_a_handful_of_images_by_heart(name: str) -> None:
    torch.manual_seed(3)
    size = max(smallest(name), 32)
    still = {key: 0.0 for key in architectures.hyperparameters(name) if key == "dropout"}
    network = architectures.create(name, bands=1, size=size, **still).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7)
    batch, labels = torch.randn(16, 1, size, size), torch.arange(16) % 2.0
    losses: list[float] = []
    while len(losses) < 60 and min(losses, default=1.0) > 0.3:
        loss = binary_cross_entropy_with_logits(network(batch), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert losses[-1] < 0.3


@every_network
@pytest.mark.slow
def test_an_exported_network_gives_the_same_logits_for_any_batch(name: str) -> None:
    batch = torch.export.Dim("batch", min=1, max=65_536)
    exported = torch.export.export(small(name), (images(name, 2),), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for size in (1, 5):
            assert torch.equal(exported(images(name, size)), small(name)(images(name, size)))


@every_network
def test_weights_begin_as_those_of_keras(name: str) -> None:
    network = small(name)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert not module.bias.any()
            outputs, inputs = module.weight.shape[:2]
            limit = math.sqrt(6 / ((inputs + outputs) * module.weight[0, 0].numel()))
            assert module.weight.abs().max() <= limit * (1 + 1e-6)
            if module.weight.numel() > 10_000:  # uniform up to the limit
                assert module.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


@every_network
def test_the_global_seed_decides_the_weights(name: str) -> None:
    torch.manual_seed(1)
    again = architectures.create(name, bands=1, size=smallest(name))
    for ours, theirs in zip(again.state_dict().values(), small(name).state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@every_network
def test_an_unknown_hyperparameter_is_refused_with_the_known_ones(name: str) -> None:
    known = ", ".join(architectures.hyperparameters(name))
    with pytest.raises(ValueError, match=rf"{name} has no hyperparameter 'colour' \(allowed: {known}\)"):
        architectures.create(name, bands=1, colour="red")


@every_network
def test_a_hyperparameter_out_of_range_is_refused_by_name(name: str) -> None:
    for key, default in architectures.hyperparameters(name).items():
        wrong = [0, -1, True, 1.5, "1", 10**20] if isinstance(default, int) else [-0.1, 1.0, True, "0.5", math.nan]
        for value in wrong:
            with pytest.raises(ValueError, match=f"{name}: {key} = .*expected"):
                architectures.create(name, bands=1, **{key: value})


@every_network
def test_every_hyperparameter_changes_the_network(name: str) -> None:
    for key, default in architectures.hyperparameters(name).items():
        if isinstance(default, int):
            other = architectures.create(name, bands=1, size=smallest(name), **{key: default // 2})
            assert count(other) < count(small(name))
        else:
            other = architectures.create(name, bands=1, size=smallest(name), **{key: 0.25})
            assert {each.p for each in other.modules() if isinstance(each, nn.Dropout)} == {0.25}


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no network 'resnet' \(allowed: cas_swinburne, .*, wsi_net\)"):
        architectures.create("resnet", bands=1)
