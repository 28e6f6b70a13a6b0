"""From FITS cutouts to normalised, labelled arrays."""
