"""An experiment-tracked sweep orchestrator for networks that find strong gravitational lenses."""

__version__ = "0.1.0"
