"""One training, from a recipe and cutouts to logits and metrics."""
