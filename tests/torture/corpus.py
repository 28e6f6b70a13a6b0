"""The corpus: files that are odd or bad, made here so that none has to be kept.

Each is named for what is odd about it, and comes with what has to become of it: `READ` right, or `BAD`, which is
skipped by name where it is one of many, and refused in one line where it is all there is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE, BLOCK = 101, 2880
READ, BAD = "read", "bad"


class Case(NamedTuple):
    """A file: what it holds, or how it is made at a path; and what has to become of it."""

    content: bytes | Callable[[Path], object]
    expected: str

    def put(self, path: Path) -> None:
        """Make it."""
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)


def card(key: str, value: str) -> bytes:
    return f"{key:8}= {value:>20}".ljust(80).encode("latin-1")[:80]


def header(*cards: bytes, end: bytes = b"END".ljust(80)) -> bytes:
    together = b"".join(cards) + end
    return together + b" " * (-len(together) % BLOCK)


def plain(bits: int = -32, sides: tuple[int, ...] = (SIZE, SIZE)) -> list[bytes]:
    axes = [card(f"NAXIS{number}", str(side)) for number, side in enumerate(sides, start=1)]
    return [card("SIMPLE", "T"), card("BITPIX", str(bits)), card("NAXIS", str(len(sides))), *axes]


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % BLOCK)


def sky(*shape: int) -> NDArray[np.float32]:
    """Flux of the order that the challenge has, a source in the middle."""
    shape = shape or (SIZE, SIZE)
    y, x = np.indices(shape[-2:])
    source = np.exp(-((x - shape[-1] // 2) ** 2 + (y - shape[-2] // 2) ** 2) / 50) * 5e-11
    return (np.random.default_rng(7).normal(0, 8e-13, shape) + source).astype(np.float32)


FLUX = sky()
DATA = padded(FLUX.astype(">f4").tobytes())
GOOD = header(*plain()) + DATA


def _astropy(*units: Any, **options: Any) -> bytes:
    from astropy.io import fits

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), *units] if options.pop("empty", True) else list(units)).writeto(
            file, **options
        )
    return file.getvalue()


def fits_files() -> dict[str, Case]:
    """Cutouts of one band."""
    from astropy.io import fits

    image, whole = fits.ImageHDU(FLUX), np.round(FLUX * 1e14).astype(np.int64)
    small = (whole % 90).astype("u1")
    whole[whole == 100] = 101  # which is no mask in whole numbers, and is read a little above
    table = fits.BinTableHDU.from_columns([fits.Column("id", "J", array=np.arange(3))])
    text_table = fits.TableHDU.from_columns([fits.Column("id", "A5", array=np.array(["a", "b"]))])
    a_table, holes = _astropy(table), FLUX.copy()
    holes[:5], holes[7, 7] = np.nan, np.inf
    scaled = [card("BSCALE", "1E-14"), card("BZERO", "0.0")]
    short = whole.astype(">i2").tobytes()
    commented = [card("COMMENT", "")[:8] + b"a line".ljust(72)]
    continued = [b"LONG    = 'begins&'".ljust(80), b"CONTINUE  'and goes on&'".ljust(80), b"CONTINUE  'ends'".ljust(80)]
    endless = [b"LONG    = 'a&'".ljust(80)] + [b"CONTINUE  'a&'".ljust(80)] * 50_000
    read: dict[str, bytes] = {
        "plain": GOOD,
        "no padding behind the data": GOOD[: len(header(*plain())) + 4 * SIZE * SIZE],
        "64-bit floats": header(*plain(-64)) + padded(FLUX.astype(">f8").tobytes()),
        "16-bit integers, scaled": header(*plain(16), *scaled) + padded(short),
        "32-bit integers": header(*plain(32)) + padded(whole.astype(">i4").tobytes()),
        "64-bit integers": header(*plain(64)) + padded(whole.astype(">i8").tobytes()),
        "8-bit integers": header(*plain(8)) + padded(small.tobytes()),
        "16-bit integers with BLANK": header(*plain(16), *scaled, card("BLANK", str(int(whole.astype(">i2")[3, 3]))))
        + padded(short),
        "some NaN and infinite": header(*plain()) + padded(holes.astype(">f4").tobytes()),
        "gzip'd": gzip.compress(GOOD),
        "gzip'd in two members": gzip.compress(GOOD[:5000]) + gzip.compress(GOOD[5000:]),
        "image in an extension": _astropy(image),
        "image behind a table": _astropy(table, image),
        "two images": _astropy(image, fits.ImageHDU(np.zeros((5, 5), np.float32))),
        "comments and blank cards": header(*plain(), *commented * 40, b" " * 80) + DATA,
        "a keyword twice": header(*plain(), card("BUNIT", "'a'"), card("BUNIT", "'b'")) + DATA,
        "NAXIS1 twice, the same": header(*plain(), card("NAXIS1", "101")) + DATA,
        "a short series of CONTINUE": header(*plain(), *continued) + DATA,
        "HIERARCH": header(*plain(), b"HIERARCH range x = 1.5".ljust(80)) + DATA,
        "END in a comment": header(*plain(), b"COMMENT END".ljust(80)) + DATA,
        "big numbers": header(*plain()) + padded((FLUX * np.float32(1e20)).astype(">f4").tobytes()),
        "CONTINUE, 4 MB": header(*plain(), *endless) + DATA,
        "comments, 16 MB": header(*plain(), *commented * 200_000) + DATA,
        "little-endian, as nobody can tell": header(*plain()) + padded(FLUX.astype("<f4").tobytes()),
    }
    bad: dict[str, bytes] = {
        **{f"cut behind block {number}": GOOD[: number * BLOCK] for number in range(len(GOOD) // BLOCK)},
        "cut within the header": GOOD[:100],
        "cut within the data": GOOD[:20_001],
        "one byte short": GOOD[: len(header(*plain())) + 4 * SIZE * SIZE - 1],
        "a block too many": GOOD + bytes([7]) * BLOCK,
        "BITPIX 16 over floats": header(*plain(16)) + DATA,
        **{f"BITPIX {bits}": header(*plain(bits)) + DATA for bits in (0, 7, -16, 10**9)},
        "BITPIX a word": header(card("SIMPLE", "T"), card("BITPIX", "'float'"), *plain()[2:]) + DATA,
        "NAXIS 0": header(*plain(-32, ())),
        "NAXIS 0 over data": header(*plain(-32, ())) + DATA,
        "NAXIS 3, two sides": header(*plain()[:2], card("NAXIS", "3"), *plain()[3:]) + DATA,
        "NAXIS 3 of 101 x 101 x 10^6": header(*plain(-32, (SIZE, SIZE, 10**6))) + DATA,
        "NAXIS 1": header(*plain(-32, (SIZE * SIZE,))) + DATA,
        "NAXIS 1000": header(*plain()[:2], card("NAXIS", "1000"), *plain()[3:]) + DATA,
        "NAXIS 99999999": header(*plain()[:2], card("NAXIS", "99999999"), *plain()[3:]) + DATA,
        "NAXIS -1": header(*plain()[:2], card("NAXIS", "-1"), *plain()[3:]) + DATA,
        "NAXIS1 0": header(*plain(-32, (0, SIZE))) + DATA,
        "NAXIS1 negative": header(*plain(-32, (-SIZE, SIZE))) + DATA,
        "NAXIS1 10^9": header(*plain(-32, (10**9, 10**9))) + DATA,
        "NAXIS1 10^18": header(*plain(-32, (10**18, 10**18))) + DATA,
        "NAXIS1 a fraction": header(*plain()[:3], card("NAXIS1", "101.5"), *plain()[4:]) + DATA,
        "NAXIS2 missing": header(*plain()[:4]) + DATA,
        "no END": b"".join(plain()).ljust(BLOCK) + DATA,
        "no END and no data": b"".join(plain()).ljust(BLOCK),
        "END in lower case": header(*plain(), end=b"end".ljust(80)) + DATA,
        "header alone": header(*plain()),
        "NUL in the header": header(*plain(), b"A       = 'a\0b'".ljust(80)).replace(b"SIMPLE", b"SIM\0LE") + DATA,
        "header not ASCII": header(*plain()).replace(b"BITPIX", b"BITP\xcfX") + DATA,
        "100 x 100": header(*plain(-32, (100, 100))) + padded(sky(100, 100).astype(">f4").tobytes()),
        "1 x 1": header(*plain(-32, (1, 1))) + padded(np.ones((1, 1), ">f4").tobytes()),
        "4 planes": header(*plain(-32, (SIZE, SIZE, 4))) + padded(sky(4, SIZE, SIZE).astype(">f4").tobytes()),
        "all NaN": header(*plain()) + padded(np.full((SIZE, SIZE), np.nan, ">f4").tobytes()),
        "all infinite": header(*plain()) + padded(np.full((SIZE, SIZE), np.inf, ">f4").tobytes()),
        "BSCALE NaN": header(*plain(16), card("BSCALE", "NAN")) + padded(short),
        "BSCALE a word": header(*plain(), card("BSCALE", "'a lot'")) + DATA,
        "BZERO infinite": header(*plain(), card("BZERO", "1E999")) + DATA,
        "SIMPLE missing": header(*plain()[1:]) + DATA,
        "only SIMPLE": b"SIMPLE  =                    T",
        "an extension alone": header(b"XTENSION= 'IMAGE   '".ljust(80), *plain()[1:]) + DATA,
        "an extension of no kind": header(*plain(-32, ()))
        + header(b"XTENSION= 'NOTHING '".ljust(80), *plain()[1:])
        + DATA,
        "an extension cut off": _astropy(image)[:-BLOCK],
        "a table": a_table,
        "a table of text": _astropy(text_table),
        "a table that lies of its rows": a_table.replace(card("NAXIS2", "3")[:30], card("NAXIS2", "999999999")[:30]),
        "a table of 99999 columns": a_table.replace(card("TFIELDS", "1")[:30], card("TFIELDS", "99999")[:30]),
        "gzip'd and cut": gzip.compress(GOOD)[:-500],
        "gzip'd with a wrong sum": gzip.compress(GOOD)[:-8] + b"\0" * 8,
        "gzip'd with garbage within": gzip.compress(GOOD)[:900] + b"garbage" * 9 + gzip.compress(GOOD)[963:],
        "gzip'd twice": gzip.compress(gzip.compress(GOOD)),
        "gzip'd nothing": gzip.compress(b""),
        "gzip'd zeros, 100 MB": gzip.compress(bytes(100 << 20)),
        "gzip'd image of 100 MB": gzip.compress(header(*plain(-32, (5000, 5000))) + bytes(100 << 20)),
        "gzip'd CONTINUE, 4 MB": gzip.compress(header(*plain(), *endless) + DATA),
        "bzip2": bz2.compress(GOOD),
        "xz": lzma.compress(GOOD),
        "compress (.Z)": b"\x1f\x9d\x90" + GOOD[:500],
        "zip": _zip({"image.fits": GOOD}),
        "HTML": b"<!doctype html><title>404</title>" * 100,
        "text": b"no such file\n",
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "numpy": _npy(FLUX),
        "a pickle": b"\x80\x04\x95\x00.",
        "random bytes": np.random.default_rng(1).bytes(50_000),
        "spaces": b" " * 50_000,
        "zeros": bytes(50_000),
        "ENDs": b"END".ljust(80) * 500,
        "empty": b"",
        "one byte": b"S",
    }  # fmt: skip
    made: dict[str, Callable[[Path], object]] = {
        "a folder": Path.mkdir,
        "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
        "a link to itself": lambda path: path.symlink_to(path),
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a pipe": os.mkfifo,
    }
    return {
        **{name: Case(content, READ) for name, content in read.items()},
        **{name: Case(content, BAD) for name, content in bad.items()},
        **{name: Case(make, BAD) for name, make in made.items()},
    }


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype == object)
    return file.getvalue()


def tables(first: str, second: str, id_: str = "id", value: str = "path") -> dict[str, Case]:
    """Name of a file → a table with the columns `id_` and `value`, of two rows, `first` and `second` in the latter."""
    rows = ("1001", first), ("1002", second)

    def text(separator: str = ",", end: str = "\n", quote: str = "", head: bool = True) -> str:
        lines = [*([(id_, value)] if head else []), *rows]
        return "".join(separator.join(f"{quote}{cell}{quote}" for cell in line) + end for line in lines)

    csv = text().encode()
    return {
        "plain.csv": Case(csv, READ),
        "quoted.csv": Case(text(quote='"').encode(), READ),
        "bom.csv": Case(b"\xef\xbb\xbf" + csv, READ),
        "windows.csv": Case(text(end="\r\n").encode(), READ),
        "comments.csv": Case(b"# made by hand\n#\n" + csv, READ),
        "blank lines.csv": Case(csv.replace(b"\n", b"\n\n"), READ),
        "no end.csv": Case(csv.rstrip(b"\n"), READ),
        "spaces.csv": Case(text(" , ").encode(), READ),
        "upper.csv": Case(csv.replace(f"{id_},{value}".encode(), f"{id_},{value}".upper().encode()), READ),
        "tabs.tsv": Case(text("\t").encode(), READ),
        "packed.csv.gz": Case(gzip.compress(csv), READ),
        "empty.csv": Case(b"", BAD),
        "header.csv": Case(csv.splitlines(keepends=True)[0], BAD),
        "no header.csv": Case(text(head=False).encode(), BAD),
        "other columns.csv": Case(b"a,b\n1,2\n", BAD),
        "columns twice.csv": Case(csv.replace(f"{id_},{value}".encode(), f"{value},{value}".encode()), BAD),
        "ragged.csv": Case(csv + b"1003\n", BAD),
        "too many cells.csv": Case(csv + b"1003,a,b,c\n", BAD),
        "NUL.csv": Case(csv.replace(b"1002", b"10\x0002"), BAD),
        "UTF-16.csv": Case(text().encode("utf-16"), READ),
        "latin.csv": Case(csv.replace(b"1002", b"10\xe902"), BAD),
        "random.csv": Case(np.random.default_rng(2).bytes(5000), BAD),
        "zip.csv": Case(_zip({"a.csv": csv}), BAD),
        "HTML.csv": Case(b"<!doctype html><title>404</title>\n" * 100, BAD),
        "an open quote.csv": Case(csv + b'"1003,' + b"a\n" * 1000, BAD),
        "one long line.csv": Case(b"a" * (1 << 20), BAD),
        "folder.csv": Case(Path.mkdir, BAD),
        "device.csv": Case(lambda path: path.symlink_to("/dev/zero"), BAD),
        "loop.csv": Case(lambda path: path.symlink_to(path), BAD),
        "cut.csv.gz": Case(gzip.compress(csv)[:-9], BAD),
        "bomb.csv.gz": Case(gzip.compress(csv + bytes(64 << 20)), BAD),
        **{name: Case(content, BAD) for name, content in _cut_tables(rows, id_, value)},
    }


def _cut_tables(rows: Any, id_: str, value: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet
    from astropy.table import Table

    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({id_: [r[0] for r in rows], value: [r[1] for r in rows]}), file)
    yield "cut.parquet", file.getvalue()[:-20]
    yield "head.parquet", file.getvalue()[:40]
    yield "text.parquet", b"id,path\n1,a\n"
    yield "empty.parquet", b""
    nested = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({id_: ["1"], value: [[{"a": [1]}]]}), nested)
    yield "nested.parquet", nested.getvalue()
    table = Table(rows=list(rows), names=[id_, value])
    for suffix, kind in ((".vot", "votable"), (".ecsv", "ascii.ecsv")):
        written = io.StringIO() if suffix == ".ecsv" else io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table.write(written, format=kind)
        content = written.getvalue()
        content = content.encode() if isinstance(content, str) else content
        yield f"cut{suffix}", content[: len(content) // 2]
        yield f"text{suffix}", b"\x00\x01 no table"
    packed = _fits_table(table)
    yield "cut.fits", packed[:-BLOCK]
    yield "image.fits", GOOD


def _fits_table(table: Any) -> bytes:
    file = io.BytesIO()
    table.write(file, format="fits")
    return file.getvalue()


def arrays() -> dict[str, Case]:
    """What is sent as an array or JSON: of Space cutouts."""
    flux = FLUX[None, None]
    header_of = b"\x93NUMPY\x01\x00"

    def lying(text: bytes) -> bytes:
        return header_of + len(text).to_bytes(2, "little") + text + flux.tobytes()

    npz = io.BytesIO()
    np.savez(npz, flux=flux)
    return {
        "an array": Case(_npy(flux), READ),
        "an archive": Case(npz.getvalue(), READ),
        "by columns": Case(_npy(np.asfortranarray(flux)), READ),
        "big-endian": Case(_npy(flux.astype(">f8")), READ),
        "JSON": Case(json.dumps({"flux": flux.tolist()}).encode(), READ),
        "JSON with null": Case(json.dumps({"flux": flux.tolist()}).replace("[[[[", "[[[[null, ", 1).encode(), BAD),
        "objects": Case(_npy(np.array([{}], object)), BAD),
        "texts": Case(_npy(np.array(["a"])), BAD),
        "complex": Case(_npy(flux.astype(complex)), BAD),
        "fields": Case(_npy(np.zeros(3, [("a", "f4")])), BAD),
        "cut": Case(_npy(flux)[:-1], BAD),
        "an archive, cut": Case(npz.getvalue()[:-50], BAD),
        "an archive without flux": Case(_zip({"other.npy": _npy(flux)}), BAD),
        "an archive of a pickle": Case(_zip({"flux.npy": b"\x80\x04\x95\x00."}), BAD),
        "a header that lies": Case(
            lying(b"{'descr':'<f4','fortran_order':False,'shape':(1000000000,1,101,101)}\n"), BAD
        ),
        "a negative shape": Case(lying(b"{'descr':'<f4','fortran_order':False,'shape':(-1,1,101,101)}\n"), BAD),
        "a header that is code": Case(lying(b"__import__('os').mkdir('ran')\n"), BAD),
        "a header of brackets": Case(lying(b"(" * 9000), BAD),
        "all NaN": Case(_npy(flux * np.nan), BAD),
        "another shape": Case(_npy(np.zeros((1, 1, 5, 5), np.float32)), BAD),
        "no dimension": Case(_npy(np.float32(1)), BAD),
        "JSON of a number": Case(b"5", BAD),
        "JSON of brackets": Case(b"[" * 100_000, BAD),
        "JSON of texts": Case(b'{"flux": [[["a"]]]}', BAD),
        "JSON, ragged": Case(b'{"flux": [[[1, 2], [3]]]}', BAD),
        "JSON, cut": Case(b'{"flux": [[[1,', BAD),
        "JSON of a huge number": Case(b'{"flux": [' + b"9" * 10_000 + b"]}", BAD),
        "empty": Case(b"", BAD),
        "random bytes": Case(np.random.default_rng(3).bytes(5000), BAD),
    }


def stacks() -> dict[str, Case]:
    """HDF5 files of Space cutouts."""
    import h5py

    def made(**datasets: Any) -> bytes:
        file = io.BytesIO()
        with h5py.File(file, "w") as opened:
            for name, values in datasets.items():
                opened[name] = values
        return file.getvalue()

    flux = np.stack([FLUX, FLUX])
    whole = made(flux=flux, id=[1, 2], ra=[1.0, 2.0], dec=[1.0, 2.0])
    return {
        "plain": Case(whole, READ),
        "float64 of four dimensions": Case(made(flux=flux[:, None].astype(float)), READ),
        "empty": Case(b"", BAD),
        "text": Case(b"no HDF5", BAD),
        "cut": Case(whole[: len(whole) // 2], BAD),
        "head alone": Case(whole[:600], BAD),
        "no images": Case(made(id=[1, 2]), BAD),
        "two datasets": Case(made(a=flux, b=flux), BAD),
        "no objects": Case(made(flux=flux[:0]), BAD),
        "of 3 bands": Case(made(flux=np.zeros((2, 3, SIZE, SIZE), np.float32)), BAD),
        "of 50 x 50": Case(made(flux=np.zeros((2, 50, 50), np.float32)), BAD),
        "of texts": Case(made(flux=np.array([[[b"a"]]])), BAD),
        "complex": Case(made(flux=flux.astype(complex)), BAD),
        "ids of another length": Case(made(flux=flux, id=[1, 2, 3]), BAD),
        "RA of words": Case(made(flux=flux, ra=np.array([b"a", b"b"]), dec=[1.0, 2.0]), BAD),
    }


def studies() -> dict[str, Case]:
    """Study files."""
    good = b'data = "simulated-space"\narchitectures = ["lens_flow"]\nepochs = [1]\n'
    return {
        "plain": Case(good, READ),
        "empty": Case(b"", BAD),
        "no TOML": Case(b"epochs: 1\n", BAD),
        "cut": Case(good + b"[vary", BAD),
        "not UTF-8": Case(good + b"# \xff\n", BAD),
        "NUL": Case(good + b"\0", BAD),
        "a typo": Case(good.replace(b"epochs", b"epoch"), BAD),
        "no network": Case(good.replace(b"lens_flow", b"lens_flaw"), BAD),
        "epochs of text": Case(good.replace(b"[1]", b'["1"]'), BAD),
        "epochs below 1": Case(good.replace(b"[1]", b"[0]"), BAD),
        "epochs beyond all": Case(good.replace(b"[1]", b"[99999999999999999999999]"), BAD),
        "a key twice": Case(good + b"epochs = [2]\n", BAD),
        "an unknown setting": Case(good + b"[fixed]\nlerning_rate = 1e-3\n", BAD),
        "a rate of NaN": Case(good + b"[fixed]\nlearning_rate = nan\n", BAD),
        "a range upside down": Case(good + b"[vary]\nlearning_rate = {low = 1.0, high = 0.1}\n", BAD),
        "brackets": Case(good + b"a = " + b"[" * 5000, BAD),
        "folder": Case(Path.mkdir, BAD),
        "random bytes": Case(np.random.default_rng(4).bytes(5000), BAD),
    }
