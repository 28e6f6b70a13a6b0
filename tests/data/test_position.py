"""Positions from headers: as astropy's world coordinates have them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from orchestrator.data.position import position


def cards(header: fits.Header) -> bytes:
    return bytes(header.tostring().encode())


def with_wcs(ra: float, dec: float, rotation: float) -> fits.Header:
    header = fits.PrimaryHDU(np.zeros((400, 600), np.float32)).header
    angle, scale = np.radians(rotation), 0.2 / 3600
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=ra, CRVAL2=dec, CRPIX1=300.5, CRPIX2=200.5)
    header["CD1_1"], header["CD1_2"] = -scale * np.cos(angle), scale * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = scale * np.sin(angle), scale * np.cos(angle)
    return header


@pytest.mark.parametrize(("ra", "dec"), [(150.1, 2.2), (0.001, -45.0), (359.999, 88.0), (33.0, -89.5)])
@pytest.mark.parametrize("rotation", [0, 30])
def test_a_cutout_of_a_larger_image_is_where_its_own_middle_is(ra: float, dec: float, rotation: float) -> None:
    wcs = WCS(with_wcs(ra, dec, rotation))
    cutout = Cutout2D(np.zeros((400, 600), np.float32), (80, 330), 101, wcs=wcs)
    header = fits.PrimaryHDU(cutout.data, cutout.wcs.to_header()).header  # its matrix as PC and CDELT
    expected = cutout.wcs.pixel_to_world_values(50, 50)
    np.testing.assert_allclose(position(cards(header)), expected, atol=1e-8)
    with_cd = with_wcs(ra, dec, rotation)  # the place in the middle of the whole
    np.testing.assert_allclose(position(cards(with_cd)), (ra, dec), atol=1e-8)
    with_cd.update(CRPIX1=280.5, CRPIX2=230.5)
    np.testing.assert_allclose(position(cards(with_cd)), WCS(with_cd).pixel_to_world_values(299.5, 199.5), atol=1e-8)


def test_keywords_of_the_object_come_first_in_degrees_or_as_their_comment_says() -> None:
    header = with_wcs(150, 2, 0)
    header["RA_TARG"], header["DEC_TARG"] = 151.0, 2.5
    assert position(cards(header)) == (151.0, 2.5)
    header["RA"], header["DEC"] = (-0.001, "radians"), (0.002, "radians")
    assert position(cards(header)) == pytest.approx((360 - np.degrees(0.001), np.degrees(0.002)))


@pytest.mark.parametrize("change", [{"CTYPE1": "GLON-TAN"}, {"CRVAL1": 0.0, "CRVAL2": 0.0}, {"CRPIX1": "middle"}])
def test_what_says_nothing_of_the_sky_has_no_position(change: dict[str, object]) -> None:
    header = with_wcs(150, 2, 0)
    header.update(change)
    assert np.isnan(position(cards(header))).all()
    assert np.isnan(position(cards(fits.PrimaryHDU(np.zeros((9, 9))).header))).all()
    header["RA"], header["DEC"] = "10:00:00", "+02:00:00"
    assert np.isnan(position(cards(header))).all()
