"""Finds where on the sky a cutout is, from the cards of its FITS header."""

from __future__ import annotations

import re
from math import atan2, cos, degrees, hypot, nan, radians, sin

Position = tuple[float, float]
"""Right ascension and declination in degrees; NaN where unknown."""

UNKNOWN: Position = (nan, nan)

NAMES = (("RA", "DEC"), ("RA_TARG", "DEC_TARG"), ("RA_OBJ", "DEC_OBJ"))
"""Keywords that name the object's own position, the first that are there count."""

CARD = re.compile(
    rb"((?:RA|DEC)(?:_TARG|_OBJ)?|NAXIS[12]|(?:CRPIX|CRVAL|CTYPE|CDELT)[12]|(?:CD|PC)[12]_[12]) *= *([^ /]+) */?(.*)"
)


def position(header: bytes) -> Position:
    """Read the position of an image's centre, or of the object in it.

    The object's own keywords come first, in degrees unless their comment says radians, as the challenge's does; then
    the world coordinates of the centre, in the gnomonic projection (TAN). Reference coordinates of exactly 0, 0 are
    taken for a placeholder, as they are in the challenge.

    Args:
        header: cards of 80 bytes each; of a keyword that is repeated the first counts.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3.
    """
    cards: dict[str, tuple[str, str]] = {}
    for start in range(0, len(header), 80):
        # Most cards are of no use here, and are told by their first letter.
        if header[start] in b"RDNCP" and (found := CARD.match(header, start, start + 80)):
            key, value, comment = found.groups()
            cards.setdefault(key.decode(), (value.decode("latin-1"), comment.decode("latin-1")))
    for ra, dec in NAMES:
        if ra in cards and dec in cards:
            return _angle(*cards[ra]) % 360, _angle(*cards[dec])
    try:
        return _centre({key: value for key, (value, _) in cards.items()})
    except (KeyError, ValueError):
        return UNKNOWN


def _angle(value: str, comment: str) -> float:
    try:
        number = float(value)
    except ValueError:  # in hours, minutes and seconds
        return nan
    return degrees(number) if "radian" in comment.lower() else number


def _centre(cards: dict[str, str]) -> Position:
    if not (cards["CTYPE1"].startswith("'RA---TAN") and cards["CTYPE2"].startswith("'DEC--TAN")):
        return UNKNOWN
    number = {key: float(value) for key, value in cards.items() if not key.startswith(("CTYPE", "RA", "DEC"))}
    pole = radians(number["CRVAL1"]), radians(number["CRVAL2"])
    if pole == (0, 0):
        return UNKNOWN
    dx, dy = ((number[f"NAXIS{n}"] + 1) / 2 - number[f"CRPIX{n}"] for n in (1, 2))
    x, y = (radians(_element(number, row, 1) * dx + _element(number, row, 2) * dy) for row in (1, 2))
    ahead = cos(pole[1]) - y * sin(pole[1])
    ra = pole[0] + atan2(x, ahead)
    dec = atan2(sin(pole[1]) + y * cos(pole[1]), hypot(x, ahead))
    return degrees(ra) % 360, degrees(dec)


def _element(number: dict[str, float], row: int, column: int) -> float:
    """Of the matrix from pixels to degrees, in either form that the standard has."""
    if any(key.startswith(("CD1_", "CD2_")) for key in number):
        return number.get(f"CD{row}_{column}", 0.0)
    return number.get(f"CDELT{row}", 1.0) * number.get(f"PC{row}_{column}", float(row == column))
