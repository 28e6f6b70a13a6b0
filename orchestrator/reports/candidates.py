"""The best candidates of a bulk scoring as one page of pictures, for a person to look through."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.normalise import prepare
from orchestrator.reports.figures import png, portraits

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }}
main {{ display: flex; flex-wrap: wrap; gap: .6rem; }}
figure {{ margin: 0; width: 152px; overflow-wrap: anywhere; }}
img {{ width: 152px; image-rendering: pixelated; display: block; }}
figcaption {{ font-size: .75rem; line-height: 1.3; margin-top: .2rem; }}
.note {{ opacity: .75; }}
</style>
<h1>{title}</h1>
<p class="note">{note}</p>
<main>
{figures}
</main>
</html>
"""


@dataclass(frozen=True)
class Candidate:
    """One object: its name, its flux (bands, size, size) as the files hold it, None if they no longer do, and lines."""

    name: str
    flux: NDArray[np.float32] | None
    lines: tuple[str, ...]


def page(title: str, note: str, candidates: Iterable[Candidate], imaging: ImagingSet) -> str:
    """All of them, in the order given, in one HTML page that needs nothing else."""
    bands = [band.name for band in imaging.bands]
    figures = "\n".join(_figure(each, bands) for each in candidates)
    return PAGE.format(title=html.escape(title), note=html.escape(note), figures=figures)


def _figure(candidate: Candidate, bands: list[str]) -> str:
    image = ""
    if candidate.flux is not None:
        (picture,) = portraits(prepare(candidate.flux[None], "zscale")[0], bands)
        encoded = base64.b64encode(png(picture[::-1])).decode()
        image = f'<img alt="" src="data:image/png;base64,{encoded}">'
    name, told = html.escape(candidate.name), "<br>".join(map(html.escape, candidate.lines))
    return f"<figure>{image}<figcaption><b>{name}</b><br>{told}</figcaption></figure>"
