"""Makes realistic labelled sets in the challenge's own layout: population → render → writer."""

from orchestrator.data.simulation.writer import VERSION, simulate

__all__ = ["VERSION", "simulate"]
