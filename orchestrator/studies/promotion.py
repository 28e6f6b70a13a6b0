"""Makes a model the champion of its set, or says exactly why not; every decision is recorded."""

from __future__ import annotations

import tomllib
from pathlib import Path

import torch
from pydantic import ValidationError

from orchestrator.errors import StudyError, TrackingError
from orchestrator.learning.gate import Gate
from orchestrator.reports.verdict import verdict_page
from orchestrator.studies.gate import OpenFlux, Verdict, judge
from orchestrator.tracking import artifacts, records, registry, runs, store
from orchestrator.tracking.registry import Version

GATE = Path("gate.toml")


def gate_of(study: str) -> Gate:
    """The gate of a study: its file's when it was begun, else `gate.toml` of the working directory, else the defaults.

    Raises:
        StudyError: `gate.toml` is not as it should be.
    """
    stored = records.study_definition(study).get("gate")
    if stored is not None:
        return Gate.model_validate(stored)
    try:
        return Gate.model_validate(tomllib.loads(GATE.read_text()) if GATE.is_file() else {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{GATE}: {error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        allowed = ", ".join(Gate.model_fields)
        raise StudyError(f"{GATE}: {'.'.join(map(str, problem['loc']))}: {problem['msg']} (keys: {allowed})") from None


def promote(
    run_id: str,
    alias: str,
    device: torch.device,
    open_flux: OpenFlux,
    *,
    data: str | None = None,
    forced: str = "",
) -> tuple[Version, Verdict | None]:
    """Register the model of a row and point an alias at it; champion of its set it becomes only through the gate.

    Args:
        run_id: the row.
        alias: of what it becomes.
        device: where to compute.
        open_flux: opens sets.
        data: a set to compare on, instead of the objects that the candidate was tested on.
        forced: the reason to promote it whatever the gate says; it is recorded.

    Returns:
        The version, and the verdict; None where it was champion already, or the alias is another.

    Raises:
        TrackingError: no such row, or the gate refuses; it says why.
    """
    row = records.row(run_id)
    study = {"study": records.study_of(run_id)}
    with registry.exclusive():
        if alias != registry.CHAMPION:
            return registry.promote(row, study, alias), None
        present = registry.champion(row.set)
        if present and present.run_id == run_id:
            return present, None
        gate = gate_of(study["study"])
        verdict = judge(row, present, gate, device, open_flux, data)
        decision = record(verdict, gate, forced)
        if not verdict.passed and not forced:
            raise TrackingError(f"{run_id}: not promoted: {verdict.refusal} (the decision is run {decision})")
        tags = {**study, "decision": decision} | ({"forced": forced} if forced else {})
        return registry.promote(row, tags, alias), verdict


def record(verdict: Verdict, gate: Gate, forced: str = "") -> str:
    """Record a decision as a run of the kind promotion, with a page, and return the run."""
    row, against = verdict.row, verdict.against
    said = "passed" if verdict.passed else "forced" if forced else "refused"
    title = f"{row.name} for champion of {row.set}: {said}"
    rival = against.uri if against else "none yet"
    lines = [(each.what, each.passed, each.told) for each in verdict.checks]
    figures = [[name, *each.cells] for name, each in verdict.differences.items()]
    note = f"candidate: run {row.run_id}; champion: {rival}; {verdict.objects:,} objects in common"
    page = verdict_page(title, f"{note}; forced: {forced}" if forced else note, lines, figures, verdict.curves)
    run_id = runs.begin(store.experiment("promotions"), "promotion", title)
    with runs.running(run_id):
        runs.log_params(run_id, {"candidate": row.run_id, "against": rival, "gate": gate.model_dump_json()})
        runs.log_tags(run_id, {"set": row.set, "verdict": said, "reason": forced or verdict.refusal})
        runs.log_metrics(run_id, {f"{name}_difference": each.difference for name, each in verdict.differences.items()})
        artifacts.log_text(run_id, page, "verdict.html")
    return run_id
