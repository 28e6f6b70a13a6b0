"""Very many objects: read in blocks, they are what they are when they are read at once, and few are in memory."""

from __future__ import annotations

import gc
import hashlib
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from orchestrator.data import sources
from orchestrator.data.challenge import GROUND, SIZE, SPACE
from orchestrator.data.columns import Column
from orchestrator.data.sources import Files, catalogues, listing, lists, stacks
from orchestrator.data.tables import Table
from orchestrator.errors import DataError

COUNT = 1_600


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Of so few objects that some are many blocks; Arrow cuts bitmaps between multiples of 512 rows otherwise."""
    for module in (listing, lists, catalogues, stacks):
        monkeypatch.setattr(module, "BLOCK", 512)
    return 512


def all_at_once(ids: list[str], paths: list[list[str | None]], ra: object, dec: object) -> str:
    """The digest as it is defined: of one table, cut into blocks."""
    kind = pa.list_(pa.large_binary())
    columns = {"id": pa.array(ids, pa.large_string()), "paths": pa.array(paths, pa.list_(pa.large_string())).cast(kind)}
    table = pa.table({**columns, "ra": ra, "dec": dec}).combine_chunks()
    digest = hashlib.sha256()
    for batch in table.to_batches(max_chunksize=listing.BLOCK):
        digest.update(batch.serialize())
    return digest.hexdigest()


def written(path: Path, columns: dict[str, list[object]]) -> Path:
    """A catalogue, of its kind; as Parquet in row groups that blocks do not end with."""
    table = pa.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=300)
    else:
        path.write_text("".join(f"{each}\n" for each in columns["path"]))
    return path


@pytest.mark.parametrize("held", [0, 5_000, 1 << 20])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.txt"])
def test_objects_read_in_blocks_are_those_of_one_table_wherever_they_are_kept(
    name: str, held: int, tmp_path: Path, small_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "HELD", held)
    names = [f"object-{number}" for number in range(COUNT)]
    paths = [f"/survey/tile-{number // 7}/{each}.fits" for number, each in enumerate(names)]
    places = np.arange(COUNT) / 10
    data = written(tmp_path / name, {"path": paths, "id": names, "ra": places.tolist(), "dec": (places / 2).tolist()})
    source = sources.find(data, SPACE)
    assert isinstance(source, Files)
    blank = np.full(COUNT, np.nan)
    expected = (blank, blank) if name == "c.txt" else (places, places / 2)
    assert source.digest() == all_at_once(names, [[each] for each in paths], *expected)
    assert len(source.listing.blocks) == -(-COUNT // small_blocks)
    assert (source.listing.file is None) == (held == 1 << 20)
    for start, stop in ((0, COUNT), (511, 513), (1599, 1600), (100, 900), (0, 1), (70, 70)):
        found = source.listing.entries(start, stop)
        assert [each.id for each in found] == names[start:stop]
        assert [each.paths for each in found] == [(each,) for each in paths[start:stop]]
        np.testing.assert_array_equal([each.position[0] for each in found], expected[0][start:stop])


def test_the_digest_of_objects_that_lack_bands_is_that_of_one_table(tmp_path: Path, small_blocks: int) -> None:
    names = [f"{number}" for number in range(COUNT)]
    rng = np.random.default_rng(0)
    paths: list[list[str | None]] = [
        [f"/{name}-{band.name}.fits" if rng.random() < 0.8 else None for band in GROUND.bands] for name in names
    ]
    columns = {f"path_{band.name}": list(of) for band, of in zip(GROUND.bands, zip(*paths, strict=True), strict=True)}
    source = sources.find(written(tmp_path / "c.parquet", {**columns, "id": names}), GROUND)
    blank = np.full(COUNT, np.nan)
    assert source.digest() == all_at_once(names, paths, blank, blank)


IDS = {
    "whole numbers": (list(range(COUNT)), [str(number) for number in range(COUNT)]),
    "held as floating-point ones": ([float(n) for n in range(COUNT)], [str(number) for number in range(COUNT)]),
    "some with a fraction": (
        [*map(float, range(COUNT - 1)), 0.5],
        [*(f"{number}.0" for number in range(COUNT - 1)), "0.5"],
    ),
    "text": ([f"{number}.0" for number in range(COUNT)], [str(number) for number in range(COUNT)]),
    "text, one of it a word": (
        [*(f"{number}.0" for number in range(COUNT - 1)), "last"],
        [*(f"{number}.0" for number in range(COUNT - 1)), "last"],
    ),
    "some without": ([None if n % 3 else f"o{n}" for n in range(COUNT)], None),
}


@pytest.mark.parametrize(("ids", "expected"), IDS.values(), ids=IDS)
def test_identifiers_are_what_the_whole_column_makes_of_them(
    ids: list[object], expected: list[str] | None, tmp_path: Path, small_blocks: int
) -> None:
    expected = expected or [each or f"f{number}" for number, each in enumerate(ids)]  # type: ignore[misc]
    columns = {"id": ids, "path": [f"/f{number}.fits" for number in range(COUNT)]}
    for name in ("c.csv", "c.parquet"):
        source = sources.find(written(tmp_path / name, columns), SPACE)
        assert isinstance(source, Files)
        (whole,) = Table.open(tmp_path / name).read([0])
        as_whole = [each or f"f{number}" for number, each in enumerate(whole.ids())]
        assert [each.id for each in source.listing.entries(0, COUNT)] == as_whole
        assert name == "c.csv" or as_whole == expected
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("images", (COUNT, SIZE, SIZE), "f4", chunks=(1, SIZE, SIZE))  # none is there
        file["id"] = [each or "" for each in ids] if None in ids else ids
    stack = sources.find(tmp_path / "s.h5", SPACE)
    named = [each if ids[number] is not None else f"[{number}]" for number, each in enumerate(expected)]
    assert [row.id for row in stack.read(0, COUNT).rows] == named
    assert [row.id for row in stack.read(500, 530).rows] == named[500:530]


def test_the_row_of_a_position_that_is_none_is_told_in_whichever_block_it_is(tmp_path: Path, small_blocks: int) -> None:
    angles = [*map(str, range(700)), "far", *map(str, range(899))]
    columns = {"path": ["a.fits"] * COUNT, "ra": angles, "dec": [1.0] * COUNT}
    for name, told in (("c.csv", "c.csv:702: ra 'far'"), ("c.parquet", "c.parquet: row 701: ra 'far'")):
        with pytest.raises(DataError, match=told):
            sources.find(written(tmp_path / name, columns), SPACE)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("images", (COUNT, SIZE, SIZE), "f4", chunks=(1, SIZE, SIZE))
        file["ra"], file["dec"] = angles, np.ones(COUNT)
    with pytest.raises(DataError, match=r"s\.h5: row 701: /ra 'far' is no angle"):
        sources.find(tmp_path / "s.h5", SPACE)


@pytest.mark.parametrize("size", [9, 800, 1600, 5000])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
def test_the_pieces_of_a_column_are_the_column(name: str, size: int, tmp_path: Path) -> None:
    texts = [f" t{number} " if number % 5 else None for number in range(COUNT)]
    table = Table.open(written(tmp_path / name, {"a": texts, "b": list(range(COUNT))}))
    (whole,) = table.read([0])
    pieces: list[Column] = [column for (column,) in table.pieces([0], size)]
    assert [text for each in pieces for text in each.texts()] == whole.texts()
    assert [each.first for each in pieces] == list(range(0, COUNT, size))
    assert [each.place(row) for each in pieces for row in range(len(each.values))] == [
        whole.place(row) for row in range(COUNT)
    ]


@pytest.mark.slow
def test_each_chunk_of_a_stack_is_read_once(tmp_path: Path) -> None:
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("this system does not count what a process reads")

    def read() -> int:
        return int(counter.read_text().split()[1])

    images = np.random.default_rng(0).integers(0, 9, (450, SIZE, SIZE)).astype(np.float32)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(450, 6, 20), compression="gzip", compression_opts=1)
    source = sources.find(tmp_path / "s.h5", SPACE)
    before = read()
    for start in range(0, 450, 50):
        np.testing.assert_array_equal(source.read(start, start + 50).flux[:, 0], images[start : start + 50])
    assert read() - before < 1.2 * (tmp_path / "s.h5").stat().st_size


@pytest.mark.slow
def test_a_stack_or_list_of_many_is_no_more_python_objects_than_a_small_one(tmp_path: Path, small_blocks: int) -> None:
    def objects(count: int) -> int:
        with h5py.File(tmp_path / f"{count}.h5", "w") as file:
            file.create_dataset("images", (count, SIZE, SIZE), "f4", chunks=(1, SIZE, SIZE))
            file["id"], file["ra"], file["dec"] = np.arange(count), np.zeros(count), np.zeros(count)
        (tmp_path / f"{count}.txt").write_text("".join(f"{number}.fits\n" for number in range(count)))
        gc.collect()
        before = sys.getallocatedblocks()
        found = [sources.find(tmp_path / f"{count}.{kind}", SPACE) for kind in ("h5", "txt")]
        assert [len(each) for each in found] == [count, count]
        gc.collect()
        return sys.getallocatedblocks() - before

    objects(10)  # imports
    assert objects(6_000) < objects(2_500) + 500
