"""What can be said of devices on any machine."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest
import torch

from orchestrator.errors import RecipeError
from orchestrator.learning import devices
from tests.conftest import ROOT

CPU = torch.device("cpu")


def test_the_best_device_is_the_one_torch_calls_its_accelerator() -> None:
    accelerator = torch.accelerator.current_accelerator()
    assert devices.choose().type == (accelerator.type if accelerator else "cpu")


def test_the_processor_can_always_be_asked_for() -> None:
    assert devices.choose("cpu") == CPU


@pytest.mark.parametrize("name", ["tpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(RecipeError, match=f"no device '{name}'.*allowed: .*cpu"):
        devices.choose(name)


def test_more_gpus_than_there_are_do_not_train_together() -> None:
    there = torch.cuda.device_count()
    assert devices.first_of(1, CPU) == CPU
    with pytest.raises(RecipeError, match=f"--gpus {there + 2}: this machine has {there}"):
        devices.first_of(there + 2, devices.choose())


def test_a_machine_is_described_in_words() -> None:
    described = devices.describe(CPU)
    assert set(described) == {"device", "processor", "cores", "memory", "system"}
    assert all(described.values())
    assert described["device"] == "cpu"
    assert int(described["cores"]) >= 1


def test_automatic_precision_is_float32_on_a_processor_and_a_wish_is_granted() -> None:
    assert devices.resolve_precision("auto", CPU) == "float32"
    assert devices.resolve_precision("bfloat16", CPU) == "bfloat16"
    assert devices.resolve_precision("float32", CPU) == "float32"


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_only_products_are_computed_in_the_precision_asked_for(precision: str, expected: torch.dtype) -> None:
    layer = torch.nn.Linear(2, 2)
    with devices.autocast(CPU, precision):
        assert layer(torch.ones(1, 2)).dtype == expected
    assert layer.weight.dtype == torch.float32


def test_data_stay_where_they_are_for_a_processor() -> None:
    assert devices.room_for_data(CPU) == 0


def test_reproducible_computing_ends_where_it_should() -> None:
    cudnn = torch.backends.cudnn
    before = (cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, cudnn.benchmark)
    with devices.reproducible():
        assert (cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, cudnn.benchmark) == (True, True, False, False)
    assert (cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, cudnn.benchmark) == before


@pytest.mark.slow
def test_numbers_next_to_nothing_are_taken_for_it_by_all_threads_of_a_process_that_computes() -> None:
    script = (
        "import torch\nfrom orchestrator.learning import devices\ntorch.set_num_threads(2)\n"
        "print(float(torch.tensor(1e-38) * 0.01) != 0)\ndevices.choose('cpu')\n"
        "print(int((torch.full((10**6,), 1e-38) * 0.01).view(torch.int32).count_nonzero()))"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "0"]  # importing changes nothing


FAULTS = """
import json, resource, threading
import torch
from torch import nn
from orchestrator.learning import devices

network = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))  # maps of 40 MB
images = torch.zeros(16, 1, 101, 101)

def train(steps=3):
    for _ in range(steps):
        network(images).sum().backward()

def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def in_a_thread():
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()

train()
given_back = faults(train)
devices.choose("cpu")
train()
in_a_thread()
print(json.dumps([given_back, faults(train), faults(in_a_thread)]))
"""


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")


@glibc
@pytest.mark.slow
def test_steps_of_a_training_take_the_memory_of_those_before_in_any_thread() -> None:
    told = subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=True)
    given_back, kept, in_a_thread = json.loads(told.stdout)
    assert given_back > 3 * 10_000  # one map has as many pages
    assert kept < given_back / 5
    assert in_a_thread < given_back / 5


@glibc
@pytest.mark.slow
def test_every_wish_about_memory_is_one_that_glibc_grants() -> None:
    script = (
        "import ctypes\nfrom orchestrator.learning.devices import KEPT\n"
        "print({ctypes.CDLL(None).mallopt(*each) for each in KEPT.values()})"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "{1}"


def test_all_devices_are_the_gpus_of_this_machine() -> None:
    if torch.cuda.is_available():
        assert devices.every() == [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    else:
        with pytest.raises(RecipeError, match=r"--device all: no CUDA GPU is here \(allowed: --device cpu\)"):
            devices.every()
