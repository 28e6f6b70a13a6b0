"""How many Space cutouts a second are packed, and the raw reader against astropy's, file by file."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _machine import seconds, show

from orchestrator.data.cache import build
from orchestrator.data.challenge import SIZE, SPACE, cutout_path, scan
from orchestrator.data.fits import read_image

REPEATS, READ = 5, 1000


def write(root: Path, count: int) -> None:
    """Galaxies in noise as the challenge writes them, none twice, and their key."""
    from astropy.io import fits

    rng = np.random.default_rng(0)
    noise = rng.normal(0, 7.8e-13, (count // 50 + SIZE, SIZE)).astype(">f4")
    galaxies = [1e-11 * np.exp(-np.hypot(*(np.mgrid[:SIZE, :SIZE] - 50)) / rng.uniform(2, 15)) for _ in range(50)]
    header = fits.PrimaryHDU(np.zeros((SIZE, SIZE), np.float32)).header.tostring().encode()
    padding = bytes(-(4 * SIZE * SIZE) % 2880)
    cutout_path(root, SPACE, 0, SPACE.bands[0], 0).parent.mkdir(parents=True)
    for number in range(count):
        pixels = galaxies[number % 50] + noise[number // 50 : number // 50 + SIZE]
        path = cutout_path(root, SPACE, 0, SPACE.bands[0], 100_000 + number)
        path.write_bytes(header + pixels.astype(">f4").tobytes() + padding)
    rows = (f"{100_000 + number},{number % 2}" for number in range(count))
    (root / "classifications.csv").write_text("\n".join(["ID,is_lens", *rows]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="cutouts (default: 20000)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as place:
        root, where = Path(place) / "set", Path(place) / "packed"
        write(root, count)

        def pack() -> None:
            for _ in build(root, "zscale", where):
                pass

        packing = []
        for _ in range(REPEATS):
            shutil.rmtree(where, ignore_errors=True)
            os.sync()  # so that no repeat waits for what another left to write
            packing.append(seconds(pack))
        again = seconds(pack)

        from astropy.io import fits

        paths = [each.paths[0] for each in scan(root).objects[:READ]]

        def raw() -> None:
            for path in paths:
                read_image(path)

        def by_astropy() -> None:
            for path in paths:
                fits.getdata(path)

        pairs = [(seconds(raw), seconds(by_astropy)) for _ in range(REPEATS)]
    ours, astropys = (statistics.median(times) / len(paths) * 1e6 for times in zip(*pairs, strict=True))
    show(
        f"Packing {count:,} Space cutouts with ZScale, files in memory, median of {REPEATS}; held: 5,000 a second",
        ["cutouts a second", "slowest", "seconds when packed", "µs to read a file", "by astropy", "ratio"],
        [
            [
                f"{count / statistics.median(packing):,.0f}",
                f"{count / max(packing):,.0f}",
                f"{again:.2f}",
                f"{ours:.0f}",
                f"{astropys:.0f}",
                f"{statistics.median(slow / fast for fast, slow in pairs):.1f}",
            ]
        ],
    )


if __name__ == "__main__":
    main()
