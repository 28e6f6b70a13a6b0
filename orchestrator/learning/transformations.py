"""The names of the nine transformations of the paper (section 2.2), in the order they are composed."""

TRANSFORMATIONS = (
    "flip_horizontal",
    "flip_vertical",
    "rotate_90",
    "rotate_180",
    "rotate_270",
    "translate",
    "scale",
    "shear_x",
    "shear_y",
)
DIHEDRAL = TRANSFORMATIONS[:5]
"""Those that move whole pixels onto whole pixels."""
