"""Which device there is, what it is called, and in what precision it computes best."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from orchestrator.errors import RecipeError, one_of

KEPT = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}
"""What `mallopt` is told, by glibc's numbers: nothing from the kernel for one tensor alone, nothing back to it, and one
heap for all threads, since those of single threads hold no large tensors."""


def choose(name: str | None = None) -> torch.device:
    """The device asked for, or the best there is, for this process to compute on from now on.

    Weights that decay to nothing make numbers that a processor is ten times as slow with. They are taken for 0 from
    here on, by all threads if none has been started yet: each takes it over from the one that starts it. Memory that
    is freed is kept, see `keep_memory`.

    Raises:
        RecipeError: there is none of that name; it lists those there are.
    """
    torch.set_flush_denormal(True)
    keep_memory()
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there = ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count())), *there]
    if name is not None and name not in there:
        raise RecipeError(one_of("device", name, there))
    return torch.device(name or there[0])


def first_of(count: int, device: torch.device) -> torch.device:
    """The first of so many GPUs that are to train together; of one alone the device that was chosen.

    Raises:
        RecipeError: there are not as many, or the device that was chosen is one of its own.
    """
    if count == 1:
        return device
    there = torch.cuda.device_count()
    if count > there:
        raise RecipeError(f"--gpus {count}: this machine has {there}")
    if device != torch.device("cuda"):
        raise RecipeError(f"--gpus {count} takes the first {count} GPUs, and no --device {device} beside")
    return torch.device("cuda", 0)


def every() -> list[torch.device]:
    """All GPUs of this machine, for this process to compute on.

    Raises:
        RecipeError: there are none.
    """
    choose()
    if not torch.cuda.is_available():
        raise RecipeError("--device all: no CUDA GPU is here (allowed: --device cpu)")
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def keep_memory() -> None:
    """Have this process keep the memory that tensors leave, for those that follow, until it ends.

    glibc would give each large one back to the kernel, which fills each page with zeros when it is asked for again: up
    to 40 % of a training step. Nothing happens where the C library is another one.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no such function, or no such library
        mallopt = ctypes.CDLL(None).mallopt
        for number, value in KEPT.values():
            mallopt(number, value)


def model(device: torch.device) -> str:
    """What a GPU is sold as; of any other device the name it goes by here."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def describe(device: torch.device) -> dict[str, str]:
    """What a person needs to compare timings: the device, the processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "device": model(device),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": platform.platform(terse=True),
    }


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` is bfloat16 on a GPU that computes with it, float32 elsewhere.

    On CPUs that have it bfloat16 is faster, too; that it costs nothing is not shown (docs/explanation/performance.md).
    """
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "float32"


def layout(device: torch.device) -> torch.memory_format:
    """In which order a network's weights lie in memory, which decides the order of all that it computes.

    Channels last is faster, but on an Apple GPU: there torch's results with it are not always right (pytorch #174345).
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def room_for_data(device: torch.device) -> int:
    """Bytes that a training set may fill on the device: half of what is free on a GPU with memory of its own.

    The other half is for the network and its gradients. Elsewhere the data are as near as can be already.
    """
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0


def reproducible() -> AbstractContextManager[object]:
    """On CUDA, convolve in full float32 and with algorithms that give the same bits each time."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute what profits from it in that precision; weights and sums stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
