"""What the project says of itself agrees with itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli import main

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_conda_installs_what_pip_does() -> None:
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    python, pip, packages = conda["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert packages["pip"] == ["-c constraints.txt", *PYPROJECT["project"]["dependencies"]]


def test_every_package_is_pinned_once_and_exactly() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = [re.fullmatch(r"([A-Za-z0-9_.-]+)==([^=]+)", line) for line in lines]
    assert all(pinned), [line for line, match in zip(lines, pinned, strict=True) if not match]
    names = [match[1].lower().replace("_", "-") for match in pinned if match]
    assert len(names) == len(set(names))
    asked = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["dev"]]
    assert {each.lower().partition("[")[0] for each in asked} <= set(names)


def test_mlproject_calls_the_command_line_with_options_it_has() -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    for entry in project["entry_points"].values():
        words = entry["command"].split()
        assert words[:3] == ["python", "-m", "orchestrator"]
        command = main.commands[words[3]]
        options = {name for each in command.params if isinstance(each, click.Option) for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= options
        assert set(re.findall(r"{(\w+)}", entry["command"])) == entry["parameters"].keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_in_a_document_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (document.parent / target).exists(), target
    headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()}
    for anchor in re.findall(r"\]\(#([^)]*)\)", text):
        assert anchor in headings, anchor


def test_the_help_of_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys, orchestrator.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "mlflow", "optuna", "numpy", "rich", "pydantic", "astropy", "kornia"} & set(loaded)


def test_every_decision_says_context_choice_and_price() -> None:
    decisions = list((ROOT / "docs" / "decisions").glob("*.md"))
    assert decisions
    for path in decisions:
        text = path.read_text().lower()
        assert "## context" in text, path.name
        assert "## choice" in text, path.name
        assert "## price" in text, path.name
