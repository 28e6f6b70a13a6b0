"""What simulated objects look like on disk: a FITS file a band, and labels in either of the challenge's two forms."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE, ImagingSet

Row = Mapping[str, str]
"""Column → value of one object, as text: the same whether it was just made or read back."""

BLOCK = 2880
"""Bytes that a header and an image fill whole numbers of (FITS standard 4.0, section 3)."""

RADIANS = np.pi / 180 / 3600
"""In an arcsecond."""


def fits(imaging: ImagingSet, pixels: NDArray[np.float32]) -> bytes:
    """An image (SIZE, SIZE) as a FITS file of the challenge's kind; it says nothing of a place on the sky."""
    image = pixels.astype(">f4").tobytes()
    return _header(imaging.pixel_scale) + image.ljust(-(-len(image) // BLOCK) * BLOCK, b"\0")


@cache
def _header(scale: float) -> bytes:
    degrees = scale / 3600
    cards = (
        ("SIMPLE", "T", "conforms to the FITS standard"),
        ("BITPIX", "-32", "bits per pixel"),
        ("NAXIS", "2", "axes"),
        ("NAXIS1", f"{SIZE}", "columns"),
        ("NAXIS2", f"{SIZE}", "rows"),
        ("WCSAXES", "2", "axes of the coordinate system"),
        ("CRPIX1", "51.0", "column of the reference pixel"),
        ("CRPIX2", "51.0", "row of the reference pixel"),
        ("CRVAL1", "0.0", "its right ascension: none, this is simulated"),
        ("CRVAL2", "0.0", "its declination: none, this is simulated"),
        ("CTYPE1", "'RA---TAN'", ""),
        ("CTYPE2", "'DEC--TAN'", ""),
        ("CUNIT1", "'deg     '", ""),
        ("CUNIT2", "'deg     '", ""),
        ("CDELT1", f"{-degrees:.13E}", "degrees a column"),
        ("CDELT2", f"{degrees:.13E}", "degrees a row"),
        ("NX", f"{SIZE}", "columns"),
        ("NY", f"{SIZE}", "rows"),
    )
    lines = [f"{key:8}= {value:<20}" if value.startswith("'") else f"{key:8}= {value:>20}" for key, value, _ in cards]
    lines = [f"{line} / {remark}" if remark else line for line, (_, _, remark) in zip(lines, cards, strict=True)]
    lines += [f"HIERARCH range x = {SIZE * scale * RADIANS:.11E} / radians", "END"]
    header = "".join(line.ljust(80) for line in lines).encode()
    return header.ljust(-(-len(header) // BLOCK) * BLOCK)


def training_key(rows: Iterable[Row]) -> str:
    """Labels as the challenge's training sets have them; areas are in steradians."""
    return table(
        {
            "ID": row["ID"],
            "is_lens": row["is_lens"],
            "Einstein_area": f"{np.pi * (float(row['theta_E']) * RADIANS) ** 2:.6g}",
            "numb_pix_lensed_image": row["arc_pixels"],
            "flux_lensed_image_in_sigma": row["arc_flux"],
        }
        for row in rows
    )


def catalogue(rows: Iterable[Row]) -> str:
    """Labels as the challenge's test sets have them."""
    labels = ({"ID": row["ID"], "no_source": "0" if row["is_lens"] == "1" else "1"} for row in rows)
    return "# simulated; no_source is 0 for a lens\n" + table(labels)


def table(rows: Iterable[Row]) -> str:
    """Rows of the same columns as CSV."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rows(text: str) -> list[Row]:
    """The rows of a CSV; none of no text."""
    return list(csv.DictReader(io.StringIO(text)))
