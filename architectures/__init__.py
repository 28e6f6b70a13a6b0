"""The networks: one file is one network, and its name is the name everywhere.

A file defines a class `Network(bands, size, *, <hyperparameters>)`, a torch module that maps images
(batch, bands, size, size) to logits (batch,).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

LARGEST = 65_536
"""Of maps and neurons; with more, a layer's weights would not fit anywhere."""


def names() -> tuple[str, ...]:
    """The names of all networks, without importing any."""
    files = Path(__file__).parent.glob("*.py")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def hyperparameters(name: str) -> dict[str, Any]:
    """What a network takes beside bands and size, with the defaults."""
    parameters = inspect.signature(_network(name)).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def check_hyperparameters(name: str, chosen: Mapping[str, Any]) -> None:
    """Refuse what a network would not take; imports it only where something was chosen.

    Raises:
        ValueError: no such hyperparameter, or a value out of range; of a chosen network, no such network.
    """
    known = hyperparameters(name) if chosen else {}
    for key, value in chosen.items():
        if key not in known:
            raise ValueError(f"{name} has no hyperparameter '{key}' (allowed: {', '.join(known)})")
        _check(f"{name}: {key}", value, known[key])


def create(name: str, *, bands: int, size: int = 101, **chosen: Any) -> nn.Module:
    """Build a network; its weights are drawn from torch's global generator.

    Raises:
        ValueError: no such network or hyperparameter, a value out of range, or images too small for it.
    """
    check_hyperparameters(name, chosen)
    try:
        return _network(name)(bands, size, **chosen)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _network(name: str) -> type[nn.Module]:
    if name not in names():
        raise ValueError(f"no network '{name}' (allowed: {', '.join(names())})")
    network: type[nn.Module] = importlib.import_module(f"architectures.{name}").Network
    return network


def _check(what: str, value: Any, default: Any) -> None:
    """A count is a whole number from 1 on, a probability lies in [0, 1)."""
    if isinstance(default, int):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
            raise ValueError(f"{what} = {value!r}: a whole number from 1 to {LARGEST} is expected")
    elif not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"{what} = {value!r}: a number from 0 to below 1 is expected")
