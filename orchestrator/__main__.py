"""So that `python -m orchestrator` works where nothing is installed, as under `mlflow run`."""

from orchestrator.cli import main

if __name__ == "__main__":  # worker processes import this file too
    main()
