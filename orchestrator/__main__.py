"""So that `python -m orchestrator` works where nothing is installed, as under `mlflow run`."""

from orchestrator.cli import main

main()
