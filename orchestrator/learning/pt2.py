"""Reads and writes exported graphs, and reads none that could run code; needs torch alone, and travels with models.

torch's own reader unpickles sample inputs, and weights and constants that say so; it looks up operators by any name
that torch has, runs guards, and has sympy evaluate the expressions of sizes. A graph of ours needs nothing of it.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

FILES = re.compile(
    r"models/model\.json|data/(weights/(weight_\d+|model_weights_config\.json)|constants/(tensor_\d+|"
    r"model_constants_config\.json)|sample_inputs/model\.pt)|archive_(format|version)|byteorder|\.data/\w+"
)
"""All that an archive of ours holds, below its one folder."""

OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+")
SYMBOL = r"Symbol\('[su]\d+', positive=True, integer=True\)"
SIZE = re.compile(rf"\d+|{SYMBOL}|Mul\(Integer\(\d+\), {SYMBOL}\)")
"""A number, a number of cutouts, or that of their bands together."""


def save(program: ExportedProgram, file: Path | IO[bytes]) -> None:
    """Write a graph, without the sample inputs that would be pickled."""
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights in another order of memory, which are written rightly
        torch.export.save(program, file)


def load(path: Path, device: torch.device) -> ExportedProgram:
    """Read a graph onto a device.

    Raises:
        ValueError: not a graph, or one with anything in it that reading might run.
    """
    for problem in _problems(path):
        raise ValueError(f"{path.name}: {problem}; not loaded, since it might run code")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return move_to_device_pass(torch.export.load(path), str(device))


def _problems(path: Path) -> Iterator[str]:
    if not zipfile.is_zipfile(path):
        yield "not an exported graph (pt2)"
        return
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
        if len(set(names)) < len(names) or not {"archive_format", "models/model.json"} <= set(names):
            yield "not an exported graph (pt2) as torch writes it"
        for entry, name in zip(archive.infolist(), names, strict=True):
            if not FILES.fullmatch(name):
                yield f"holds {name}"
            elif name.startswith("data/sample_inputs") and entry.file_size:
                yield "holds pickled sample inputs"
            elif name.endswith(".json"):
                yield from _in(json.loads(archive.read(entry)))


def _in(content: Any) -> Iterator[str]:
    """What is wrong anywhere in a JSON document."""
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    if isinstance(content, dict):
        if content.get("use_pickle"):
            yield "holds pickled tensors"
        if content.get("guards_code"):
            yield "holds Python code"
        if not OPERATOR.fullmatch(content.get("target", "torch.ops.aten.add.Tensor")):
            yield f"calls {content['target']}"
        if not SIZE.fullmatch(content.get("expr_str", "0")):
            yield f"evaluates {content['expr_str']}"
    for each in inner:
        yield from _in(each)
