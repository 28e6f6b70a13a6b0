"""Sweeps: what to vary, what to train next, what is left to do."""
