"""Finds where on the sky a cutout is, from the cards of its FITS header.

The world coordinates of the middle of the image say it. Keywords such as RA and DEC name whatever the telescope
pointed at, as often as the object; they count only where they fall inside the image, or where the header has no world
coordinates that could tell.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from math import isfinite, nan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.coordinates import BaseCoordinateFrame
    from astropy.wcs import Wcsprm

Position = tuple[float, float]
"""Right ascension and declination in degrees (ICRS); NaN where unknown."""

UNKNOWN: Position = (nan, nan)

NAMES = (("RA", "DEC"), ("RA_TARG", "DEC_TARG"), ("RA_OBJ", "DEC_OBJ"))
"""Keywords that may name the object's own position, the first that count."""

VALUE = re.compile(r" *('(?:[^']|'')*'|[^/]*) */?(.*)")
"""What stands behind the keyword of a card: its value, as it is written, and its comment."""

SYSTEM = ("RADESYS", "RADECSYS", "EQUINOX", "EPOCH")
"""Keywords that name the system of coordinates."""

NUMBERS = ("CRPIX", "CRVAL", "CDELT", "CROTA", "CD", "PC")
"""How keywords begin whose values are numbers."""

AXES = 9
"""Of an image at most: wcslib makes room for the square of what the header says."""


def _keywords() -> Iterator[str]:
    yield from (name for pair in NAMES for name in pair)
    yield from ("NAXIS", "WCSAXES", "LONPOLE", "LATPOLE", *SYSTEM)
    yield from ("DATE-OBS", "MJD-OBS")
    for axis in range(1, AXES + 1):
        yield from (f"{name}{axis}" for name in ("NAXIS", "CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT", "CROTA"))
        yield from (f"{name}{axis}_{other}" for name in ("CD", "PC") for other in range(1, AXES + 1))
        yield from (f"{name}{axis:03}{other:03}" for name in ("CD", "PC") for other in range(1, AXES + 1))
        yield from (f"PV{axis}_{number}" for number in range(40))
    yield from (f"PROJP{number}" for number in range(10))
    for name in ("A", "B", "AP", "BP"):
        yield from (f"{name}_{power}" for power in ("ORDER", *(f"{x}_{y}" for x in range(10) for y in range(10))))


KEYWORDS = {f"{name:8}=".encode(): name for name in _keywords()}
"""How the cards begin that say something of the place, and what they are called."""

LONGITUDE = ("RA--", "GLON", "ELON", "SLON")
"""What types of axes begin with that are known here: equatorial, Galactic, ecliptic, supergalactic."""

EQUATORIAL = ("ICRS", "FK5", "FK4", "FK4-NO-E")
"""Systems of right ascension and declination."""

TYPES = tuple(f"CTYPE{axis}" for axis in range(1, AXES + 1))

END = b"END      "


def position(header: bytes) -> Position:
    """Read the position of an image's middle, or of the object in it.

    Args:
        header: cards of 80 bytes each: of the image, and behind END those of the file; of a keyword that is repeated
            the first counts.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, as `astropy.wcs` computes it.
    """
    cards: dict[str, bytes] = {}
    own: dict[str, bytes] | None = None
    for start in range(0, len(header), 80):
        key = KEYWORDS.get(header[start : start + 9])
        if key is not None:
            cards.setdefault(key, header[start : start + 80])
        elif own is None and header.startswith(END, start):
            own = dict(cards)
    own = cards if own is None else own
    try:
        if not any(key in own and _value(own[key]).startswith(LONGITUDE) for key in TYPES) or _is_placeholder(own):
            return _named(cards)
        return _by_world_coordinates(own, cards)
    except Exception:  # wcslib and astropy answer what makes no sense with many kinds
        return UNKNOWN


def _value(card: bytes) -> str:
    """Of a card: without quotes and blanks around it."""
    return _behind(card)[1].strip().strip("'").strip()


def _comment(card: bytes) -> str:
    return _behind(card)[2].lower()


def _behind(card: bytes) -> re.Match[str]:
    found = VALUE.match(card[9:].decode("latin-1"))
    assert found is not None  # all of it may be empty
    return found


def _named(cards: dict[str, bytes]) -> Position:
    """What the first pair of `NAMES` says; 0, 0 is taken for a placeholder."""
    for ra, dec in NAMES:
        if ra in cards and dec in cards:
            found = _angle(cards[ra], hours=True) % 360, _angle(cards[dec], hours=False)
            if not (isfinite(found[0]) and abs(found[1]) <= 90) or found == (0, 0):
                return UNKNOWN
            return _icrs(*found, *_stated_system(cards)) if any(key in cards for key in SYSTEM) else found
    return UNKNOWN


def _angle(card: bytes, *, hours: bool) -> float:
    """Degrees: of a number, unless its comment says radians or hours, or of text that is sexagesimal; else NaN."""
    text, comment = _value(card), _comment(card)
    try:
        number = _number(text)
    except ValueError:
        return _sexagesimal(text, hours=hours)
    if re.search(r"\brad(ians?)?\b", comment):
        number = float(np.degrees(number))
    elif hours and re.search(r"\b(hours?|hr|h)\b", comment):
        number *= 15
    return number if abs(number) <= 360 else nan


def _sexagesimal(text: str, *, hours: bool) -> float:
    from astropy.coordinates import Angle

    try:
        with warnings.catch_warnings(action="ignore"):  # it warns of 24 hours
            angle = Angle(text, unit="hourangle" if hours else "deg").deg
    except Exception:  # astropy's parser raises many kinds
        return nan
    return float(angle) if abs(angle) <= 360 else nan


def _is_placeholder(cards: dict[str, bytes]) -> bool:
    """Whether the middle of the image is said to be at 0, 0, as in the challenge's files."""
    try:
        centre = [float(_value(cards[f"CRVAL{n}"])) for n in (1, 2)]
        away = [float(_value(cards[f"CRPIX{n}"])) - float(_value(cards[f"NAXIS{n}"])) / 2 for n in (1, 2)]
        return centre == [0, 0] and all(abs(away[n - 1]) <= float(_value(cards[f"NAXIS{n}"])) for n in (1, 2))
    except (KeyError, ValueError):
        return False


def _by_world_coordinates(cards: dict[str, bytes], named: dict[str, bytes]) -> Position:
    """Where the middle of the image is, or the first of `NAMES` that falls inside it; Raises what astropy does."""
    if any(int(_value(cards[key])) > AXES for key in ("NAXIS", "WCSAXES") if key in cards):
        return UNKNOWN
    sides = np.array([int(_value(cards[f"NAXIS{n}"])) for n in (1, 2)])
    numbers = {"CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"} | {key for key in cards if key.startswith(NUMBERS)}
    if not all(isfinite(_number(_value(cards[key]))) for key in numbers):
        return UNKNOWN
    # wcslib takes what it cannot read for 0, and numbers in quotes are among it.
    wcs, to_world = _transformation(
        {key: card.replace(b"'", b" ") if key in numbers else card for key, card in cards.items()}
    )
    middle = np.ones((1, wcs.naxis))
    middle[0, :2] = (sides + 1) / 2
    world = to_world(middle)[0]
    system, equinox = _system(wcs)
    if system in EQUATORIAL:
        for pair in NAMES:
            if not all(name in named for name in pair):
                continue
            world_there = world.copy()
            world_there[[wcs.lng, wcs.lat]] = _angle(named[pair[0]], hours=True), _angle(named[pair[1]], hours=False)
            if not (np.isfinite(world_there).all() and abs(world_there[wcs.lat]) <= 90):
                continue
            pixel = wcs.s2p(world_there[None], 1)["pixcrd"][0, :2]
            if ((pixel >= 0.5) & (pixel <= sides + 0.5)).all():
                world = world_there
                break
    return _icrs(float(world[wcs.lng]), float(world[wcs.lat]), system, equinox)


def _transformation(cards: dict[str, bytes]) -> tuple[Wcsprm, Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """The world coordinates of a header, and what takes pixels (1, axes), counted from 1, to them."""
    from astropy.wcs import WCS, Wcsprm

    content = b"".join(card for key, card in cards.items() if not key.startswith(("RA", "DEC")) or "SYS" in key)
    if "A_ORDER" in cards or "B_ORDER" in cards:  # SIP, which wcslib knows nothing of; it takes ten times as long
        logging.getLogger("astropy").setLevel(logging.WARNING)  # it tells of a type of axis that does not say -SIP
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distorted = WCS(content.decode("latin-1"), fix=False)
        distorted.wcs.fix()
        return distorted.wcs, lambda pixels: distorted.all_pix2world(pixels, 1)
    wcs = Wcsprm(content, relax=True, warnings=False)
    wcs.fix()
    return wcs, lambda pixels: wcs.p2s(pixels, 1)["world"]


def _system(wcs: Wcsprm) -> tuple[str, float]:
    """The name of the coordinates, and their equinox in years where they have one."""
    kind = wcs.ctype[wcs.lng][:4]
    if kind != "RA--":
        return kind, 2000.0 if np.isnan(wcs.equinox) else wcs.equinox
    implied = "ICRS" if np.isnan(wcs.equinox) else "FK4" if wcs.equinox < 1984 else "FK5"
    system = wcs.radesys.strip().upper() or implied
    return system, wcs.equinox if isfinite(wcs.equinox) else 1950.0 if system.startswith("FK4") else 2000.0


def _stated_system(cards: dict[str, bytes]) -> tuple[str, float]:
    """The same of a header without world coordinates."""
    from astropy.wcs import Wcsprm

    axes = (b"CTYPE1  = 'RA---TAN'", b"CTYPE2  = 'DEC--TAN'")
    stated = (cards[key] for key in SYSTEM if key in cards)
    wcs = Wcsprm(b"".join(card.ljust(80) for card in (*axes, *stated)), relax=True, warnings=False)
    wcs.fix()
    return _system(wcs)


def _icrs(longitude: float, latitude: float, system: str, equinox: float) -> Position:
    """The same place in ICRS, in degrees."""
    from astropy.coordinates import SkyCoord

    if system == "ICRS":
        return longitude % 360, latitude
    if system.startswith("FK4"):  # aberration is in these coordinates: no rotation
        there = SkyCoord(longitude, latitude, unit="deg", frame=_frame(system, equinox)).icrs
        return float(there.ra.deg), float(there.dec.deg)
    x, y, z = _rotation(system, equinox) @ _direction(longitude, latitude)
    return float(np.degrees(np.arctan2(y, x))) % 360, float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def _direction(longitude: float, latitude: float) -> NDArray[np.float64]:
    along, up = np.radians([longitude, latitude])
    return np.array([np.cos(up) * np.cos(along), np.cos(up) * np.sin(along), np.sin(up)])


@cache
def _rotation(system: str, equinox: float) -> NDArray[np.float64]:
    """The matrix to ICRS; to ask astropy for each place would take as long as to score it."""
    from astropy.coordinates import SkyCoord

    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame=_frame(system, equinox)).icrs
    return np.asarray(axes.cartesian.xyz)


def _frame(system: str, equinox: float) -> BaseCoordinateFrame:
    from astropy.coordinates import FK4, FK5, BarycentricMeanEcliptic, FK4NoETerms, Galactic, Supergalactic
    from astropy.time import Time

    frames: dict[str, Callable[[], BaseCoordinateFrame]] = {
        "FK4": lambda: FK4(equinox=Time(equinox, format="byear")),
        "FK4-NO-E": lambda: FK4NoETerms(equinox=Time(equinox, format="byear")),
        "FK5": lambda: FK5(equinox=Time(equinox, format="jyear")),
        "GLON": Galactic,
        "ELON": lambda: BarycentricMeanEcliptic(equinox=Time(equinox, format="jyear")),
        "SLON": Supergalactic,
    }
    return frames[system]()


def _number(text: str) -> float:
    """A number as FITS writes it, with an exponent that may begin with D; Raises ValueError."""
    return float(re.sub("[dD](?=[-+0-9])", "e", text))
