"""Reads and writes exported graphs, and reads none that could run code; needs torch alone, and travels with models.

torch's own reader unpickles sample inputs, and weights and constants that say so; it looks up operators by any name
that torch has, runs guards, and has sympy evaluate the expressions of sizes. A graph of ours needs nothing of it, and
is read here to be run in a hundredth of the time; torch's reader is for those who look into a graph, or change it.
"""

from __future__ import annotations

import json
import math
import operator
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, fx, nn
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

SCHEMA = 8
"""Version of torch's format that `read` knows; another is left to torch."""

KINDS = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
"""Numbers of kinds of numbers there, as in torch's `schema.ScalarType`."""

BY_NAME, PLAIN = 2, ("as_int", "as_ints", "as_bool", "as_bools", "as_string")
"""How the format marks arguments that are given by name, and those that are what they look like."""


def save(program: ExportedProgram, file: Path | IO[bytes]) -> None:
    """Write a graph, without the sample inputs that would be pickled."""
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights in another order of memory, which are written rightly
        torch.export.save(program, file)


def load(file: Path | IO[bytes], device: torch.device) -> ExportedProgram:
    """Read a graph onto a device.

    Raises:
        ValueError: not a graph, or one with anything in it that reading might run.
    """
    _check(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return move_to_device_pass(torch.export.load(file), str(device))


def read(file: Path | IO[bytes], device: torch.device) -> fx.GraphModule:
    """Read a graph onto a device, to be run there: what it gives is the same to the bit as what `load` gives.

    Raises:
        ValueError: as `load`.
    """
    _check(file)
    with zipfile.ZipFile(file) as archive:
        files = {name.partition("/")[2]: name for name in archive.namelist()}
        content = json.loads(archive.read(files["models/model.json"]))
        about = content["schema_version"]["major"], archive.read(files["byteorder"]).decode()
        if about == (SCHEMA, sys.byteorder):
            try:
                return _module(content["graph_module"], _weights(archive, files, device), device)
            except _UnknownError:
                pass
    return load(file, device).module()


class _UnknownError(Exception):
    """A graph that only torch's own reader knows."""


def _weights(archive: zipfile.ZipFile, files: dict[str, str], device: torch.device) -> dict[str, Tensor]:
    """Weights and constants by their names."""
    found = {}
    for kind in ("weights/model_weights", "constants/model_constants"):
        for name, each in json.loads(archive.read(files[f"data/{kind}_config.json"]))["config"].items():
            about = each["tensor_meta"]
            sizes, strides = ([one["as_int"] for one in about[key]] for key in ("sizes", "strides"))
            content = bytearray(archive.read(files[f"data/{kind.partition('/')[0]}/{each['path_name']}"]))
            flat = torch.frombuffer(content, dtype=KINDS[about["dtype"]]) if math.prod(sizes) else torch.empty(0)
            # A copy lies where processors read fastest, in the same order of memory.
            found[name] = flat.as_strided(sizes, strides, about["storage_offset"]["as_int"]).to(device, copy=True)
    return found


def _module(content: dict[str, Any], weights: dict[str, Tensor], device: torch.device) -> fx.GraphModule:
    graph, root = fx.Graph(), nn.Module()
    values: dict[str, Any] = {}  # by the names in the file; the graph has its own, since fx writes code with them
    for number, spec in enumerate(content["signature"]["input_specs"]):
        ((kind, about),) = spec.items()
        if kind == "user_input":
            values[about["arg"]["as_tensor"]["name"]] = graph.placeholder(f"input_{number}")
        else:
            root.register_buffer(f"weight_{number}", weights[about[f"{kind}_name"]])
            values[about["arg"]["name"]] = graph.get_attr(f"weight_{number}")

    def given(argument: dict[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        if kind in PLAIN:
            return value
        if kind == "as_float":  # infinity and NaN are texts there
            return float(value)
        if kind == "as_tensor":
            return values[value["name"]]
        if kind == "as_tensors":
            return [values[each["name"]] for each in value]
        if kind == "as_sym_int":
            return values[value["as_name"]] if "as_name" in value else value["as_int"]
        if kind == "as_sym_ints":
            return [given({"as_sym_int": each}) for each in value]
        if kind == "as_scalar_type":
            return KINDS[value]
        if kind == "as_device":
            return device
        if kind == "as_none":
            return None
        raise _UnknownError

    for node in content["graph"]["nodes"]:
        _, _, _, name, overload = node["target"].split(".")
        positional = tuple(given(each["arg"]) for each in node["inputs"] if each["kind"] != BY_NAME)
        named = {each["name"]: given(each["arg"]) for each in node["inputs"] if each["kind"] == BY_NAME}
        made = graph.call_function(getattr(getattr(torch.ops.aten, name), overload), positional, named)
        outputs = [each.get("as_tensor") or {"name": each["as_sym_int"]["as_name"]} for each in node["outputs"]]
        if len(outputs) == 1:
            values[outputs[0]["name"]] = made
        else:
            for number, each in enumerate(outputs):
                values[each["name"]] = graph.call_function(operator.getitem, (made, number))
    graph.output(_result(content, [given(each) for each in content["graph"]["outputs"]]))
    return fx.GraphModule(root, graph)


def _result(content: dict[str, Any], outputs: list[Any]) -> Any:
    """One tensor, or those of a dictionary by their names."""
    form = json.loads(content["module_call_graph"][0]["signature"]["out_spec"])[1]
    if form["type"] is None:
        return outputs[0]
    if form["type"] != "builtins.dict":
        raise _UnknownError
    return dict(zip(json.loads(form["context"]), outputs, strict=True))


def _check(file: Path | IO[bytes]) -> None:
    for problem in _problems(file):
        raise ValueError(f"{problem}; not loaded, since it might run code")
    if not isinstance(file, Path):
        file.seek(0)


def _problems(file: Path | IO[bytes]) -> Iterator[str]:
    if not zipfile.is_zipfile(file):
        yield "not an exported graph (pt2)"
        return
    with zipfile.ZipFile(file) as archive:
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
