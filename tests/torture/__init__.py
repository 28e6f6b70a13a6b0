"""Input that is bad in every way known, and what comes of it: see `corpus` and `matrix`."""
