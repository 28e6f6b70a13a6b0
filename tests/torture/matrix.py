"""What becomes of the corpus: each of its files through each command that takes such files, in this process.

An outcome is one of `read`, equal to what astropy or the maker of the file says; `skipped`, named beside the others;
and `refused`, in one line. Anything else is a `FAULT`, with what happened.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import cache, catalogue, scorelist, sources, uploads
from orchestrator.data.challenge import SPACE, cutout_path, scan
from orchestrator.data.check import check
from orchestrator.data.cutouts import content_digest
from orchestrator.data.sources.pieces import Piece
from orchestrator.errors import OrchestratorError
from orchestrator.studies import study
from tests.torture import corpus
from tests.torture.corpus import FLUX, READ, Case

Outcomes = dict[str, dict[str, str]]
"""Input → command → outcome."""

FIRST = 100_000


def wrong(outcomes: Outcomes, cases: Mapping[str, Case]) -> dict[str, dict[str, str]]:
    """What did not become of an input what has to."""
    found: dict[str, dict[str, str]] = {}
    for name, by_command in outcomes.items():
        expected = {"read"} if cases[name].expected == READ else {"skipped", "refused"}
        off = {command: outcome for command, outcome in by_command.items() if outcome not in expected}
        if off:
            found[name] = off
    return found


def by_astropy(content: bytes) -> NDArray[np.float32]:
    """The first image of a FITS file."""
    from astropy.io import fits

    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(content)) as units:
            kinds = fits.PrimaryHDU | fits.ImageHDU  # is_image is true of damaged tables too
            image = next(unit.data for unit in units if isinstance(unit, kinds) and unit.size)
            return np.ascontiguousarray(image, np.float32)


def fits(folder: Path) -> Outcomes:
    """Cutouts of one band: all of them in one folder, so that one that ends a run is a fault of all."""
    cases = corpus.fits_files()
    numbers = {name: FIRST + number for number, name in enumerate(cases)}
    root = folder / "set"
    for name, case in cases.items():
        path = cutout_path(root, SPACE, 0, SPACE.bands[0], numbers[name])
        path.parent.mkdir(parents=True, exist_ok=True)
        case.put(path)
    expected = {
        name: by_astropy(case.content)
        for name, case in cases.items()
        if case.expected == READ and isinstance(case.content, bytes)
    }
    digests = {name: content_digest(image[None]) for name, image in expected.items()}
    outcomes: Outcomes = {name: {} for name in cases}

    release = scan(root)
    listed = {each.id for each in release.objects}
    assert [name for name, number in numbers.items() if number not in listed] in ([], ["a folder"])
    numbers = {name: number for name, number in numbers.items() if number in listed}
    checked = {each.id: each for each in check(release, workers=1)}
    for name, number in numbers.items():
        one = checked[number]
        outcomes[name]["check"] = _outcome(one.unreadable, number, one.content == digests.get(name, one.content))

    piece = sources.find(root, SPACE).read(0, len(cases))
    good = iter(piece.flux)
    by_number = {row.id: (row, None if row.reason else next(good)[0]) for row in piece.rows}
    for name, number in numbers.items():
        if str(number) in by_number:  # a folder, whatever its name, is looked into and no cutout
            row, flux = by_number[str(number)]
            outcomes[name]["score"] = _outcome(row.reason or None, number, _equal(flux, expected.get(name)))

    for name, case in cases.items():
        if isinstance(case.content, bytes):
            (sent,) = uploads.from_fits([uploads.Upload("file", f"{numbers[name]}.fits", case.content)], SPACE, 10**9)
            flux = None if sent.flux is None else sent.flux[0]
            outcomes[name]["serve"] = _outcome(sent.bad, numbers[name], _equal(flux, expected.get(name)))

    for _ in cache.build(root, "none", folder / "packed", max_bad=1.0, workers=1):
        pass
    packed = cache.load(root, "none", folder / "packed")
    assert packed is not None
    bad = {each.id: each.reason for each in packed.bad}
    content = dict(zip(packed.ids.tolist(), packed.content.tolist(), strict=True))
    for name, number in numbers.items():
        same = content.get(number) == digests.get(name, content.get(number))
        outcomes[name]["pack"] = _outcome(bad.get(number), number, same)
    return outcomes


def tables(folder: Path) -> Outcomes:
    """Tables of files, of labels and of scores."""
    outcomes: Outcomes = {}
    (folder / "one.fits").write_bytes(corpus.GOOD)
    (folder / "two.fits").write_bytes(corpus.GOOD)
    listed, scored = corpus.tables("one.fits", "two.fits"), corpus.tables("0.5", "0.7", "ID", "probs")
    keys = corpus.tables("1", "0", "ID", "is_lens")
    key = folder / "key of two.csv"
    key.write_text("ID,is_lens\n1001,1\n1002,0\n")
    for name in listed:
        outcomes[name] = {}
        listed[name].put(folder / name)
        outcomes[name]["score"] = _refused(lambda: _of_piece(sources.find(folder / name, SPACE).read(0, 2)))  # noqa: B023
        within = folder / "scores" / name
        within.parent.mkdir(exist_ok=True)
        scored[name].put(within)
        outcomes[name]["metrics"] = _refused(
            lambda: scorelist.read(within, "probs", "is_lens", key=key).scores.tolist() == [0.5, 0.7]  # noqa: B023
        )
        if name.endswith(".csv") and name not in ("header.csv", "folder.csv", "device.csv", "loop.csv"):
            # A key of no labels is one, and what is no file is no key: objects are unlabelled then, which is told.
            root = folder / "keys" / name
            (root / "Data_EuclidBig.0").mkdir(parents=True)
            keys[name].put(root / "classifications.csv")
            outcomes[name]["key"] = _refused(lambda: catalogue.read_labels(root, SPACE).labels == {1001: 1, 1002: 0})  # noqa: B023
    return outcomes


def arrays(folder: Path) -> Outcomes:
    """What is sent to the server."""

    def sent(content: bytes) -> str:
        read = uploads.from_json if content[:1] in (b"{", b"[", b"5") else uploads.from_arrays
        found = read(content, SPACE, *((1_000_000,) if read is uploads.from_arrays else ()))  # type: ignore[operator]
        if not found or all(each.bad for each in found):
            return "skipped" if found and all("\n" not in str(each.bad) for each in found) else "refused"
        return "read" if all(each.flux is not None and _equal(each.flux[0], FLUX) for each in found) else "FAULT: other"

    return {name: {"serve": _refused(lambda: sent(case.content))} for name, case in corpus.arrays().items()}  # type: ignore[arg-type] # noqa: B023


def stacks(folder: Path) -> Outcomes:
    """HDF5 files."""
    outcomes: Outcomes = {}
    for name, case in corpus.stacks().items():
        path = folder / f"{name}.h5"
        case.put(path)
        outcomes[name] = {"score": _refused(lambda: _of_piece(sources.find(path, SPACE).read(0, 2)))}  # noqa: B023
    return outcomes


def studies(folder: Path) -> Outcomes:
    """Study files."""
    outcomes: Outcomes = {}
    for name, case in corpus.studies().items():
        path = folder / f"{name}.toml"
        case.put(path)
        outcomes[name] = {"sweep": _refused(lambda: study.load(str(path)).epochs == (1,) or True)}  # noqa: B023
    return outcomes


KINDS: Mapping[str, tuple[Callable[[Path], Outcomes], Callable[[], dict[str, Case]]]] = {
    "FITS files": (fits, corpus.fits_files),
    "tables": (tables, lambda: corpus.tables("one.fits", "two.fits")),
    "arrays and JSON": (arrays, corpus.arrays),
    "HDF5 files": (stacks, corpus.stacks),
    "study files": (studies, corpus.studies),
}


def lines(title: str, outcomes: Outcomes) -> Iterator[str]:
    """A table that fits 100 columns."""
    commands = list(dict.fromkeys(command for each in outcomes.values() for command in each))
    yield f"{title:42.42}" + "".join(f"  {command:9}" for command in commands)
    for name, each in outcomes.items():
        yield f"  {name:40.40}" + "".join(f"  {each.get(command, '-'):9.9}" for command in commands)


def _equal(found: NDArray[np.float32] | None, expected: NDArray[np.float32] | None) -> bool:
    """Whether they are the same, NaN included; of what nobody expects, whether there is any."""
    return found is not None and (expected is None or np.array_equal(found, expected, equal_nan=True))


def _outcome(reason: str | None, number: int, same: bool) -> str:
    """Of one object among others."""
    if reason is not None:
        return "skipped" if str(number) in reason and "\n" not in reason else f"FAULT: {reason}"
    return "read" if same else "FAULT: other pixels"


def _of_piece(piece: Piece) -> str:
    if piece.good.all() and len(piece.rows):
        return "read" if all(_equal(flux[0], FLUX) for flux in piece.flux) else "FAULT: other pixels"
    reasons = [row.reason for row in piece.rows if row.reason]
    return "skipped" if reasons and not any("\n" in each for each in reasons) else f"FAULT: {reasons}"


def _refused(read: Callable[[], str | bool]) -> str:
    """Of a file that is read alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read()
    except OrchestratorError as error:
        return "refused" if "\n" not in str(error) else f"FAULT: {error}"
    except Exception as error:
        return f"FAULT: {type(error).__name__}: {error}"
    return found if isinstance(found, str) else "read" if found else "FAULT: other values"
