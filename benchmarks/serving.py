"""What 64 Ground cutouts cost over HTTP as JSON, as an array and as FITS files: bytes, and seconds to the scores."""

from __future__ import annotations

import io
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from _machine import seconds, show

import architectures
from orchestrator.data.challenge import GROUND, scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.simulation import simulate
from orchestrator.learning.finder import Finder
from orchestrator.tracking import models, store

COUNT, REPEATS = 64, 7


@contextmanager
def serving(folder: Path, uri: str) -> Iterator[str]:
    """The address of `orchestrator serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator", "serve", "--model", uri, "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--tracking-uri", f"sqlite:///{folder}/mlflow.db", "--max-request-mb", "100"],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()  # says where it listens, a moment before it does
        time.sleep(2)
        yield f"http://127.0.0.1:{port}/score"
    finally:
        server.terminate()
        server.communicate()


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        for _ in simulate(folder / "set", GROUND, COUNT, seed=1):
            pass
        objects = scan(folder / "set").objects
        flux = np.stack([read_cutout(each.paths) for each in objects])

        store.connect(f"sqlite:///{folder}/mlflow.db")
        run_id = str(store.MlflowClient().create_run(store.experiment("serving")).info.run_id)
        models.log(run_id, Finder(architectures.create("lens_flow", bands=4), "zscale"), GROUND, {})

        def npz() -> dict[str, Any]:
            file = io.BytesIO()
            np.savez(file, flux=flux)
            return {"content": file.getvalue(), "headers": {"Content-Type": "application/x-npz"}}

        def as_json() -> dict[str, Any]:
            return {"content": json.dumps({"flux": flux.tolist()}), "headers": {"Content-Type": "application/json"}}

        def fits() -> dict[str, Any]:
            return {"files": [("file", (path.name, path.read_bytes())) for each in objects for path in each.paths]}

        ways: dict[str, Callable[[], dict[str, Any]]] = {"npz": npz, "FITS files": fits, "JSON": as_json}
        rows = []
        with serving(folder, f"runs:/{run_id}/model") as address, httpx.Client(timeout=120) as client:
            for way, make in ways.items():

                def send(make: Callable[[], dict[str, Any]] = make) -> None:
                    client.post(address, **make()).raise_for_status()

                send()
                size = len(httpx.Request("POST", address, **make()).read())
                times = [seconds(send) for _ in range(REPEATS)]
                rows.append([way, f"{size / 1e6:.1f}", f"{statistics.median(times):.3f}", f"{max(times):.3f}"])
    title = f"{COUNT} Ground cutouts to scores with lens_flow, the making of the request included, {REPEATS} times"
    show(title, ["sent as", "MB", "seconds, median", "slowest"], rows)


if __name__ == "__main__":
    main()
