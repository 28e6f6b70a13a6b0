"""What orchestration costs a trial: eight workers on one machine, PostgreSQL and an MLflow server, training left out.

In the place of training each worker sleeps, one trial a quarter longer or shorter than another, as trainings are; all
else is done as it is. Told apart is what a row measures of a network: its test, its time per image, its graph and
whether that gives the same scores. On two cores eight workers wait for each other there.
"""

from __future__ import annotations

import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import uniform
from typing import Any

from _machine import show
from _stores import mlflow_server, postgresql

WORKERS = 8
TRIALS = 3
"""Of each worker; its first, for which it loads what it needs, is left out."""
EPOCHS = 10

STUDY = """
data = "set"
architectures = ["lens_flow"]
epochs = [{epochs}]
search = "hybrid"
trials = {trials}
[vary]
learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
"""

ORCHESTRATION = ("deciding", "waiting for the claim", "recording the row", "the rest")
MEASURING = "measuring the row"


def main(seconds: float) -> None:
    """Measure and print."""
    from orchestrator.data.challenge import SPACE
    from orchestrator.data.simulation import simulate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in simulate(folder / "set", SPACE, 200, seed=1, workers=2):
            pass
        (folder / "idle.toml").write_text(STUDY.format(epochs=EPOCHS, trials=WORKERS * TRIALS))
        with mlflow_server(folder) as uri, postgresql(folder / "postgresql") as address:
            command = [sys.executable, __file__, str(seconds), address, uri]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            workers = [
                subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
                for _ in range(WORKERS)
            ]
            found = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in workers]
    assert sum(map(len, found)) == WORKERS * TRIALS
    trials = [each for worker in found for each in worker[1:]]
    for each in trials:
        each["orchestration"] = sum(each[part] for part in ORCHESTRATION)
        each["all but training"] = each["orchestration"] + each[MEASURING]
    rows = []
    for part in (*ORCHESTRATION, "orchestration", MEASURING, "all but training"):
        values = [each[part] for each in trials]
        share = statistics.median(values) / seconds
        rows.append([part, f"{statistics.median(values):.2f}", f"{max(values):.2f}", f"{100 * share:.1f} %"])
    title = f"Seconds a trial of {seconds:.0f} s beside its training, {WORKERS} workers; goals: 0.5 s, 5 %"
    show(title, ["part", "median", "most", "of the training"], rows)


def work(seconds: float, address: str, uri: str) -> None:
    """Be a worker that sleeps where others train, and print what each trial cost."""
    from orchestrator.cli.progress import open_set
    from orchestrator.learning import devices, finder
    from orchestrator.learning.training import Epoch, Training
    from orchestrator.studies import row, storage, study, sweep, trial, worker
    from orchestrator.studies.bench import Bench
    from orchestrator.tracking import store

    spent: collections.Counter[str] = collections.Counter()
    done: list[dict[str, float]] = []

    def timed(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                spent[part] += time.perf_counter() - begin

        return wrapped

    def idle(training: Training, _batches: object, until: int, validate: Callable[..., Any]) -> Iterator[Epoch]:
        each = seconds / EPOCHS * uniform(0.75, 1.25)
        while training.epoch < until:
            timed("training", time.sleep)(each)
            training.epoch += 1
            metrics = {"accuracy": 0.5, **timed("training", validate)(training.network)}
            yield Epoch(training.epoch, 0.7, metrics, each)

    class Claim(storage.Claim):
        take = timed("waiting for the claim", storage.Claim.take)

    def whole(*given: Any) -> None:
        nonlocal begun
        train(*given)
        parts = {part: spent[part] for part in ("training", "deciding", "waiting for the claim", MEASURING)}
        parts["recording the row"] = spent["row"] - spent[MEASURING]
        done.append({**parts, "the rest": time.perf_counter() - begun - sum(parts.values())})
        spent.clear()
        begun = time.perf_counter()

    train, trial.train, worker.Claim = worker._train, idle, Claim
    worker._train, worker._next, trial.record = whole, timed("deciding", worker._next), timed("row", trial.record)
    for name in ("score", "time_per_image", "intervals", "completeness", "mistakes", "_as_recorded"):
        setattr(row, name, timed(MEASURING, getattr(row, name)))
    finder.export = timed(MEASURING, finder.export)
    asked = study.load("idle.toml")
    store.connect(uri)
    trials = storage.connect(address)
    bench = Bench(
        {"zscale": open_set("set", "zscale", 0.01)}, None, devices.choose("cpu"), store.experiment("idle"), "idle"
    )
    parent = sweep.joined(bench.experiment, asked, trials)
    begun = time.perf_counter()
    sweep.sweep(asked, trials, bench, parent, lambda *_: None)
    print(json.dumps(done))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        work(float(sys.argv[1]), *sys.argv[2:])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
