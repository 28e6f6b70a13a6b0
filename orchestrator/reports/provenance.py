"""The parts of a report that say how its numbers came about: what was decided, and what it takes to repeat it."""

from __future__ import annotations

import html

from orchestrator.json_text import as_json
from orchestrator.reports.page import small_print, table
from orchestrator.reports.results import Results

STATED = ("recipe.", "version.", "git_commit", "device", "processor", "cores", "memory", "system", "dataset")
"""Of a training's tags, what it takes to repeat it begins with one of these."""


def extensions(results: Results) -> tuple[str, str, str] | None:
    """The section on which trainings went on, and why."""
    names = {"gain": "gain expected", "noise": "noise", "loss_rise": "loss rise expected", "loss_noise": "noise",
             "gap": "accuracy gap", "behind": "behind the best"}  # fmt: skip
    lines = [
        [trial.model, trial.settings["epochs"], trial.tags["extension"]]
        + [f"{float(trial.tags[key]):.4f}" if (key := f"extension.{name}") in trial.tags else "-" for name in names]
        for trial in results.trials
        if "extension" in trial.tags
    ]
    if not lines:
        return None
    rule = results.definition.get("extension")
    note = f"The study's rule: {as_json(rule)}." if rule else "By hand."
    return (
        "extensions",
        "Extensions",
        small_print(note) + table(["network", "after epoch", "decision", *names.values()], lines),
    )


def reproduce(results: Results) -> str:
    """Commands, settings, digests and versions."""
    name, scale = results.study, results.definition.get("scale")
    stem = name.removesuffix(f"-{scale}") if scale else name
    command = f"orchestrator sweep --study {stem}" + (f" --scale {scale}" if scale else "")
    commands = (
        ""
        if not results.definition
        else f"<pre>{html.escape(command)}\norchestrator report --study {html.escape(name)}</pre>"
    )
    shared = {key: value for key, value in _shared(results).items() if key.startswith(STATED)}
    trials = [
        [trial.model, trial.settings["epochs"], trial.settings["digest"], trial.run_id] for trial in results.trials
    ]
    definition = html.escape(as_json(results.definition, indent=1))
    whole = f"<details><summary>The study as it was run</summary><pre>{definition}</pre></details>"
    return "".join([
        commands,
        table(["of all trainings", "value"], [[key, value] for key, value in sorted(shared.items())]),
        table(["network", "epochs", "digest of the recipe", "run"], trials),
        whole if results.definition else "",
    ])  # fmt: skip


def _shared(results: Results) -> dict[str, str]:
    """What is the same of all trainings: settings and tags."""
    found = [
        {**{f"recipe.{key}": value for key, value in trial.settings.items()}, **trial.tags} for trial in results.trials
    ]
    first = found[0] if found else {}
    return {key: value for key, value in first.items() if all(each.get(key) == value for each in found)}
