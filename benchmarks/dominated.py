"""How often a search drops a network whose recipes are as good as another's, and how often one that is worse.

    .venv/bin/python benchmarks/dominated.py

Recipes are normal in the logit of their AUC, about 2. Their values are exact: the chance of the validation objects,
which the rule also asks for, could only make it drop less.
"""

from __future__ import annotations

import numpy as np
from _machine import show

from orchestrator.studies.domination import allowed, chance

SEARCHES = 4000


def dropped(networks: int, begun: int, share: float, scatter: float, behind: float, counts: int) -> float:
    """Share of searches in which the last network is dropped that is so far behind in the mean; or any if none is."""
    rng, risk, found = np.random.default_rng(1), allowed(networks, counts), 0
    for _ in range(SEARCHES):
        values = rng.normal(2.0, scatter, (networks, begun))
        values[-1] -= behind
        values = np.sort(values)[:, ::-1][:, : int(share * begun)]
        ahead = values[np.argmax(values[:, 0])]
        left = values[-1:] if behind else values
        found += any(chance(int((ahead > each[0]).sum()), begun, begun) <= risk for each in left)
    return found / SEARCHES


def main() -> None:
    """Print the table."""
    rows = []
    for networks, counts in ((2, 1), (6, 1), (6, 6)):
        for begun, standing in ((8, 1.0), (16, 1.0), (16, 0.5), (32, 0.5)):
            for scatter in (0.1, 0.2, 0.4):
                told = [
                    f"{100 * dropped(networks, begun, standing, scatter, far * scatter, counts):.1f}"
                    for far in (0, 2, 4)
                ]
                about = (networks, counts, begun, int(standing * begun), scatter)
                rows.append([*map(str, about), *told])
    header = [
        "networks",
        "epoch counts",
        "recipes",
        "standing",
        "scatter",
        "equal",
        "2 scatters worse",
        "4 scatters worse",
    ]
    show("Networks dropped, in % of searches", header, rows)


if __name__ == "__main__":
    main()
