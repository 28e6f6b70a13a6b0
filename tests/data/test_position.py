"""Positions from headers: as astropy's world coordinates have them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.position import position
from tests.conftest import ROOT

SCALE = 0.2 / 3600

NEAR = 1e-8
"""Degrees."""


def cards(header: fits.Header) -> bytes:
    return bytes(header.tostring().encode())


def with_wcs(ra: float, dec: float, rotation: float = 0, **more: object) -> fits.Header:
    header = fits.PrimaryHDU(np.zeros((400, 600), np.float32)).header
    angle = np.radians(rotation)
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=ra, CRVAL2=dec, CRPIX1=300.5, CRPIX2=200.5)
    header["CD1_1"], header["CD1_2"] = -SCALE * np.cos(angle), SCALE * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = SCALE * np.sin(angle), SCALE * np.cos(angle)
    header.update(more)
    return header


def with_steps(header: fits.Header, **matrix: object) -> fits.Header:
    """The same with CDELT and another matrix than CD."""
    for key in [key for key in header if key.startswith("CD")]:
        del header[key]
    header.update(CDELT1=-SCALE, CDELT2=SCALE, **matrix)
    return header


def by_astropy(header: fits.Header) -> tuple[float, float]:
    """The middle of the image, in ICRS; astropy's own frame, since Galactic headers may say ICRS."""
    middle = WCS(header).celestial.pixel_to_world(299.5, 199.5).icrs
    return middle.ra.deg, middle.dec.deg


def check(header: fits.Header) -> None:
    found, expected = (SkyCoord(*each, unit="deg") for each in (position(cards(header)), by_astropy(header)))
    assert found.separation(expected).deg < NEAR


@pytest.mark.parametrize(("ra", "dec"), [(150.1, 2.2), (0.001, -45.0), (359.999, 88.0), (33.0, -89.5)])
@pytest.mark.parametrize("rotation", [0, 30])
def test_a_cutout_of_a_larger_image_is_where_its_own_middle_is(ra: float, dec: float, rotation: float) -> None:
    wcs = WCS(with_wcs(ra, dec, rotation))
    cutout = Cutout2D(np.zeros((400, 600), np.float32), (80, 330), 101, wcs=wcs)
    header = fits.PrimaryHDU(cutout.data, cutout.wcs.to_header()).header  # its matrix as PC and CDELT
    expected = cutout.wcs.pixel_to_world_values(50, 50)
    np.testing.assert_allclose(position(cards(header)), expected, atol=NEAR)
    with_cd = with_wcs(ra, dec, rotation)  # the place in the middle of the whole
    np.testing.assert_allclose(position(cards(with_cd)), (ra, dec), atol=NEAR)
    check(with_wcs(ra, dec, rotation, CRPIX1=280.5, CRPIX2=230.5))


WORLD = {
    "CROTA2 of old": with_steps(with_wcs(150, 2), CROTA2=25.0, CRPIX1=-900.0),
    "PC001001 of old": with_steps(
        with_wcs(213, 11.5, CRPIX1=-1200.5), PC001001=-1.0, PC001002=0.1, PC002001=0.1, PC002002=1.0
    ),
    "arcseconds": with_wcs(
        540000.0, 7200.0, CUNIT1="arcsec", CUNIT2="arcsec", CRPIX1=30.0,
        CD1_1=-0.2, CD1_2=0.0, CD2_1=0.0, CD2_2=0.2,
    ),
    "exponents with D": fits.Header.fromstring(with_wcs(150, 2, CRPIX1=99.0).tostring().replace("E-05", "D-05")),
    "declination first": with_wcs(
        2.0, 150.0, CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRPIX2=-3000.5, CD1_1=0.0, CD1_2=SCALE, CD2_1=SCALE, CD2_2=0.0
    ),
    "Galactic": with_wcs(33.0, 60.0, CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRPIX1=-500.0),
    "FK5": with_wcs(150, 2, RADESYS="FK5", EQUINOX=2000.0),
    "equinox alone": with_wcs(150, 2, EQUINOX=2000.0),
    "an earlier equinox of FK5": with_wcs(150, 2, RADESYS="FK5", EQUINOX=1975.0),
    "B1950": with_wcs(150, 2, 10, EQUINOX=1950.0),
    "EPOCH of old": with_wcs(150, 2, 10, EPOCH=1950.0),
    "RADECSYS of old": with_wcs(150, 2, RADECSYS="FK4"),
    "another projection": with_wcs(150, 2, CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRPIX1=-4000.0),
    "plate carrée, referred to 0, 0": with_wcs(0, 0, CTYPE1="RA---CAR", CTYPE2="DEC--CAR", CRPIX1=-90000.0),
    "SIP": with_wcs(
        150, 2, CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", CRPIX1=-800.0,
        A_ORDER=2, B_ORDER=2, A_2_0=1e-5, B_0_2=-2e-5, A_1_1=3e-6,
    ),
    "SIP that the axes do not say": with_wcs(150, 2, CRPIX1=-800.0, A_ORDER=2, B_ORDER=2, A_2_0=1e-5, B_0_2=-2e-5),
    "SIP without coefficients": with_wcs(150, 2, CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", CRPIX1=-800.0),
    "TPV": with_wcs(
        150, 2, CTYPE1="RA---TPV", CTYPE2="DEC--TPV", CRPIX1=-800.0,
        PV1_0=1e-4, PV1_1=1.001, PV1_4=0.02, PV2_0=-2e-4, PV2_1=0.999,
    ),
}  # fmt: skip


@pytest.mark.parametrize("header", WORLD.values(), ids=WORLD)
@pytest.mark.filterwarnings("ignore")  # of the oracle, for what is old
def test_any_world_coordinates_are_those_of_astropy_in_icrs(
    header: fits.Header, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(position(cards(header))).all()
    assert capsys.readouterr() == ("", "")
    check(header)


def test_galactic_ecliptic_and_supergalactic_places_are_converted() -> None:
    for kind, frame in (("G", "galactic"), ("E", "barycentricmeanecliptic"), ("S", "supergalactic")):
        header = with_wcs(33.0, 60.0, CTYPE1=f"{kind}LON-TAN", CTYPE2=f"{kind}LAT-TAN", RADESYS="ICRS")
        expected = SkyCoord(33.0, 60.0, unit="deg", frame=frame).icrs
        np.testing.assert_allclose(position(cards(header)), (expected.ra.deg, expected.dec.deg), atol=NEAR)


@given(
    ra=st.floats(0, 360), dec=st.floats(-90, 90), rotation=st.floats(-180, 180),
    pixel=st.tuples(*[st.floats(-3000, 3000)] * 2), mirrored=st.booleans(),
    form=st.sampled_from(["CD", "PC", "PC00", "CROTA"]), projection=st.sampled_from(["TAN", "SIN", "ZEA", "ARC"]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_headers_drawn_at_random_are_where_astropy_has_them(
    ra: float, dec: float, rotation: float, pixel: tuple[float, float], mirrored: bool, form: str, projection: str
) -> None:
    header = with_wcs(ra, dec, rotation, CRPIX1=pixel[0], CRPIX2=pixel[1])
    header.update(CTYPE1=f"RA---{projection}", CTYPE2=f"DEC--{projection}")
    if mirrored:
        header["CD1_1"], header["CD2_1"] = -header["CD1_1"], -header["CD2_1"]
    if form == "CROTA":
        header = with_steps(header, CROTA2=rotation)
    elif form != "CD":
        between = "00" if form == "PC00" else ""
        matrix = {
            f"PC{between}{row}{between or '_'}{column}": header[f"CD{row}_{column}"] / SCALE
            for row in (1, 2) for column in (1, 2)
        }  # fmt: skip
        header = with_steps(header, **matrix)
    if (ra, dec) != (0, 0):
        check(header)


@pytest.mark.parametrize("name", ["", "_TARG", "_OBJ"])
def test_keywords_count_only_inside_the_image_if_its_world_coordinates_can_tell(name: str) -> None:
    header = with_wcs(150, 2, CRPIX1=-1200.5)
    middle = by_astropy(header)
    header[f"RA{name}"], header[f"DEC{name}"] = 150.0, 2.0  # the telescope's
    np.testing.assert_allclose(position(cards(header)), middle, atol=NEAR)
    header[f"RA{name}"], header[f"DEC{name}"] = middle[0] + 0.003, middle[1] - 0.003
    assert position(cards(header)) == pytest.approx((middle[0] + 0.003, middle[1] - 0.003), abs=NEAR)
    header[f"DEC{name}"] = middle[1] - 0.02  # beyond the lower edge
    np.testing.assert_allclose(position(cards(header)), middle, atol=NEAR)


def test_the_pointing_of_two_surveys_is_not_the_place_of_all_their_objects() -> None:
    places = [
        position(cards(with_wcs(150, 2, CRPIX1=x, RA_TARG=150.0, DEC_TARG=2.0))) for x in (-900.0, 2000.0, 5000.0)
    ]
    assert len({round(ra, 4) for ra, _ in places}) == 3


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        (150.11625, 2.2009722),
        ("150.11625", "2.2009722"),
        ("10:00:27.9", "+02:12:03.5"),
        ("10 00 27.9", "+02 12 03.5"),
        ("10h00m27.9s", "+02d12m03.5s"),
        ("150d06m58.5s", "2d12m03.5s"),
        ((10.00775, "[h] right ascension"), 2.2009722),
        ((2.620022822, "radians"), (0.038414211, "[rad]")),
        ("1.5011625D2", 2.2009722),
    ],
)
@pytest.mark.parametrize("world", [False, True])
def test_numbers_and_text_are_read_in_the_unit_they_are_in(ra: object, dec: object, world: bool) -> None:
    header = with_wcs(150.11, 2.2) if world else fits.PrimaryHDU(np.zeros((9, 9))).header
    header["RA"], header["DEC"] = ra, dec
    assert position(cards(header)) == pytest.approx((150.11625, 2.2009722), abs=1e-6)


@pytest.mark.parametrize(
    ("stated", "frame"),
    [
        ({"EQUINOX": 1950.0}, "fk4"),
        ({"RADESYS": "FK4"}, "fk4"),
        ({"RADECSYS": "FK5", "EQUINOX": 1975.0}, "fk5"),
        ({"EPOCH": 2000.0}, "fk5"),
        ({"RADESYS": "ICRS"}, "icrs"),
    ],
)
def test_keywords_are_in_the_system_that_their_header_states(stated: dict[str, object], frame: str) -> None:
    there = SkyCoord(10, 3, unit="deg", frame=frame, **({"equinox": "J1975"} if len(stated) == 2 else {})).icrs
    found = position(cards(fits.Header({"RA": 10.0, "DEC": 3.0, **stated})))
    np.testing.assert_allclose(found, [there.ra.deg, there.dec.deg], atol=NEAR, rtol=0)


def test_numbers_in_quotes_are_numbers() -> None:
    header = with_wcs(150, 2, 30)
    quoted = with_wcs(150, 2, 30, **{key: str(header[key]) for key in ("CRVAL1", "CRPIX2", "CD1_2")})
    np.testing.assert_allclose(position(cards(quoted)), by_astropy(header), atol=NEAR, rtol=0)


def test_24_hours_are_none_without_a_warning() -> None:
    np.testing.assert_allclose(position(cards(fits.Header({"RA": "24:00:00", "DEC": "1"}))), [360, 1])


def test_the_challenges_placeholder_leaves_the_word_to_the_keywords() -> None:
    header = with_wcs(0.0, 0.0)
    header["RA"], header["DEC"] = (-0.001, "radians"), (0.002, "radians")
    assert position(cards(header)) == pytest.approx((360 - np.degrees(0.001), np.degrees(0.002)))


def test_an_extension_has_its_own_world_coordinates_and_may_have_the_keywords_of_the_file() -> None:
    first = fits.Header({"RA": 150.001, "DEC": 2.0, "CRVAL1": 9.0, "CD1_1": 1.0})
    found = position(cards(with_wcs(150, 2)) + cards(first))
    assert found == pytest.approx((150.001, 2.0))
    assert position(cards(fits.ImageHDU(np.zeros((9, 9))).header) + cards(with_wcs(150, 2, RA=7.0, DEC=8.0))) == (7, 8)


UNKNOWN = {
    "nothing": fits.PrimaryHDU(np.zeros((9, 9))).header,
    "a placeholder": with_wcs(0.0, 0.0),
    "a reference that is no number": with_wcs(150, 2, CRPIX1="middle"),
    "a reference that is not finite": with_wcs(150, 2, CRVAL1="nan"),
    "a matrix that is no number": with_wcs(150, 2, CD1_1="north up"),
    "no reference": with_wcs(150, 2, CRVAL1="none", RA=150.0, DEC=2.0),
    "a projection that there is not": with_wcs(150, 2, CTYPE1="RA---XYZ", CTYPE2="DEC--XYZ"),
    "a table of coordinates": with_wcs(150, 2, CTYPE1="RA---TAB", CTYPE2="DEC--TAB", RA=150.0, DEC=2.0),
    "one axis of the sky": with_wcs(150, 2, CTYPE2="LINEAR"),
    "another system": with_wcs(150, 2, RADESYS="GAPPT"),
    "thousands of axes": with_wcs(150, 2, WCSAXES=5000),
    "beyond the projection": with_wcs(150, 2, CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRPIX1=-4e6),
    "keywords in another system": fits.Header({"RA": 150.0, "DEC": 2.0, "RADESYS": "GAPPT"}),
    "keywords out of range": fits.Header({"RA": -999.0, "DEC": -999.0}),
    "keywords that are no angles": fits.Header({"RA": "zenith", "DEC": "zenith"}),
    "hours that no day has": fits.Header({"RA": "150:06:58", "DEC": "02:12:03"}),
}


@pytest.mark.parametrize("header", UNKNOWN.values(), ids=UNKNOWN)
def test_what_says_nothing_of_the_sky_has_no_position(header: fits.Header) -> None:
    assert np.isnan(position(cards(header))).all()


@pytest.mark.filterwarnings("ignore")  # of astropy, for what is old
def test_real_and_made_cases_are_where_astropy_has_them() -> None:
    folders = [ROOT.parent / "shared" / name for name in ("real", "cases")]
    if not all(each.is_dir() for each in folders):
        pytest.skip("real cutouts of other surveys are not there")
    count = 0
    for path in [each for folder in folders for each in sorted(folder.rglob("*.fits"))]:
        with fits.open(path) as units:
            for unit in units:
                if unit.is_image and unit.size and "CTYPE1" in unit.header:
                    height, width = unit.shape[-2:]
                    expected = WCS(unit.header).celestial.pixel_to_world((width - 1) / 2, (height - 1) / 2).icrs
                    found = SkyCoord(*position(cards(unit.header)), unit="deg")
                    assert found.separation(expected).deg < 1e-6, path
                    count += 1
    assert count > 20
