"""The page that a person sees where a model is served."""

from __future__ import annotations

import html

from orchestrator.data.challenge import SIZE, ImagingSet

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Lens finder</title>
<style>body{{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color-scheme:light dark}}
pre{{overflow-x:auto;padding:.7em;border:1px solid #8888}}</style>
<h1>Lens finder</h1>
<p>Scores cutouts of the set {set} ({bands}; {size} × {size} pixels) with the model <b>{model}</b>: a logit, and the
probability of a gravitational lens. Send flux as the files hold it. A request may have {largest:g} MB.</p>
<form action="score" method="post" enctype="multipart/form-data">
<input type="file" name="file" multiple required> <button>Score FITS files</button></form>
<p>{files}</p>
<pre>{curl}</pre>
<p>Many are best sent as an array, which is a sixth of the same as JSON:</p>
<pre>python -c "import numpy; numpy.savez('cutouts', flux=FLUX)"    # (n, {count}, {size}, {size}) float32
curl --data-binary @cutouts.npz --header "Content-Type: application/x-npz" {address}score
curl --json '{{"flux": [[[[0.0, …]]]]}}' {address}score</pre>
<p><a href="version">Version</a> · <a href="health">Health</a> · <a href="openapi.json">OpenAPI</a></p>
"""


def page(address: str, model: str, imaging: ImagingSet, largest: float) -> str:
    """A page that says what is served and how to send to it.

    Args:
        address: where it is served, with a slash at its end.
        model: its version.
        imaging: whose cutouts it takes.
        largest: megabytes a request may have.
    """
    names = [f"{band.prefix}-ID.fits" for band in imaging.bands]
    if len(names) == 1:
        files, sent = "One file an object.", ["file=@FILE.fits"]
    else:
        files = (
            f"Files of the challenge's names, or one an object with extensions named {', '.join(_bands(imaging))}; or"
            " of any names in the order of the bands, with bands= in place of file=."
        )
        sent = [f"file=@{name}" for name in names]
    command = " ".join(["curl", *(f"--form {each}" for each in sent), f"{address}score"])
    return PAGE.format(
        set=imaging.name.capitalize(),
        bands=", ".join(_bands(imaging)),
        size=SIZE,
        model=html.escape(model),
        largest=largest,
        files=files,
        curl=html.escape(command),
        count=len(names),
        address=html.escape(address),
    )


def _bands(imaging: ImagingSet) -> list[str]:
    return [band.name for band in imaging.bands]
