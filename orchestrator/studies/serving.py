"""Answers scores over HTTP, of one model that was loaded once.

Requests are let in by their number and size while they come, and then wait in line to be read and scored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message

from orchestrator import __version__
from orchestrator.data import uploads
from orchestrator.data.challenge import SIZE, ImagingSet
from orchestrator.data.uploads import Sent, Upload
from orchestrator.errors import DataError
from orchestrator.reports import serving as pages
from orchestrator.studies.line import Line, Score
from orchestrator.studies.visitors import Visitors
from orchestrator.tracking.models import Model

WAITING = 256
"""Requests that may be inside at once."""

TOGETHER = 4
"""How many of the largest requests may be held at once."""

FILES = 4096
"""In one form at most."""

PATIENCE = 300
"""Seconds in which a request has to have come."""

ARRAYS = ("application/octet-stream", "application/x-npz", "application/x-npy")


class Answer(BaseModel):
    """The scores of all objects of a request, and the model they are of."""

    model: str
    digest: str
    objects: list[Score]


class About(BaseModel):
    """The model that is served, what it takes, and the software that serves it."""

    model: str
    digest: str
    set: str
    bands: list[str]
    size: int
    software: str
    max_request_mb: float


class Door:
    """Lets requests in: so many at once, so large each, and so much together.

    Attributes:
        largest: bytes a request may have.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self._inside = self._held = 0

    @asynccontextmanager
    async def enter(self, request: Request) -> AsyncIterator[Request]:
        """Let a request in, counting what is read of it.

        Raises:
            HTTPException: 413 for one too large, as soon as that is known; 503 while there is no room.
        """
        if int(request.headers.get("content-length", 0)) > self.largest:
            raise self._too_large()
        if self._inside >= WAITING:
            raise _busy()
        taken = 0

        async def receive() -> Message:
            nonlocal taken
            message = await request.receive()
            taken += len(message.get("body", b""))
            self._held += len(message.get("body", b""))
            if taken > self.largest:
                raise self._too_large()
            if self._held > TOGETHER * self.largest:
                raise _busy()
            return message

        self._inside += 1
        try:
            yield Request(request.scope, receive)
        finally:
            self._inside -= 1
            self._held -= taken

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the request is too large; {self.largest / 1e6:g} MB are allowed")


def _busy() -> HTTPException:
    return HTTPException(503, "too many requests wait; come again", {"Retry-After": "5"})


async def _reader(request: Request, imaging: ImagingSet, largest: int) -> Callable[[], list[Sent]]:
    """Take a request in; what it gives reads the cutouts."""
    packed = request.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise HTTPException(415, f"content encoding '{packed}' (allowed: none; FITS files may be gzip'd themselves)")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return partial(uploads.from_json, await request.body(), imaging)
    if kind in ARRAYS:
        return partial(uploads.from_arrays, await request.body(), imaging, largest)
    if kind == "multipart/form-data":
        files = []
        async with request.form(max_files=FILES) as form:
            for field, file in form.multi_items():
                if not isinstance(file, UploadFile):
                    raise DataError(f"field '{field}' holds text; files are expected (with curl: --form {field}=@PATH)")
                files.append(Upload(field, file.filename or "", await file.read()))
        return partial(uploads.from_fits, files, imaging, largest)
    allowed = ", ".join(("application/json", *ARRAYS, "multipart/form-data"))
    raise HTTPException(415, f"content type '{kind}' (allowed: {allowed})")


def app(model: Model, device: torch.device, largest: int, names: Collection[str] = ()) -> FastAPI:
    """The application that serves a model.

    Args:
        model: as loaded onto the device.
        device: where it scores.
        largest: bytes a request may have.
        names: of the server, in lower case; see `visitors.refusal`.
    """
    imaging = model.set
    about = About(
        model=model.version,
        digest=model.digest,
        set=imaging.name,
        bands=[band.name for band in imaging.bands],
        size=SIZE,
        software=__version__,
        max_request_mb=largest / 1e6,
    )
    door = Door(largest)

    @asynccontextmanager
    async def line(served: FastAPI) -> AsyncIterator[None]:
        served.state.line = Line(model, device)
        try:
            yield
        finally:
            await asyncio.to_thread(served.state.line.close)

    # FastAPI's pages of documentation load their scripts from elsewhere.
    served = FastAPI(title="Lens finder", version=__version__, docs_url=None, redoc_url=None, lifespan=line)
    served.add_middleware(Visitors, names=names)

    @served.exception_handler(DataError)
    async def refuse(request: Request, error: DataError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @served.get("/", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(pages.page(str(request.base_url), model.version, imaging, about.max_request_mb))

    @served.get("/health")
    async def health() -> dict[str, str]:
        """Whether requests are answered."""
        return {"status": "ok"}

    @served.get("/version")
    async def version() -> About:
        """The model that is served; it stays when its alias moves."""
        return about

    @served.post("/score", openapi_extra={"requestBody": _body(imaging)})
    async def post(request: Request) -> Answer:
        """Score cutouts; one that cannot be scored is told beside the others."""
        async with door.enter(request) as entered:
            try:
                async with asyncio.timeout(PATIENCE):
                    read = await _reader(entered, imaging, largest)
            except TimeoutError:
                raise HTTPException(408, f"the request did not come in {PATIENCE} seconds") from None
            except ClientDisconnect:
                raise HTTPException(400, "the request ended early") from None
            except asyncio.CancelledError:
                raise HTTPException(503, "the server stops") from None
            objects = await asyncio.wrap_future(served.state.line.add(read))
        if not objects:
            raise DataError("no cutouts in the request")
        if all(each.bad for each in objects):
            others = f" (and none of {len(objects) - 1} others can be scored)" if objects[1:] else ""
            raise DataError(f"{objects[0].bad}{others}")
        return Answer(model=model.version, digest=model.digest, objects=objects)

    return served


def _body(imaging: ImagingSet) -> dict[str, Any]:
    """What may be sent, for openapi.json."""
    binary = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": binary}
    flux = {"type": "array", "description": f"of shape {uploads.shape(imaging)}", "items": {"type": "array"}}
    form = {"type": "object", "properties": {uploads.WHOLE: files, uploads.BY_BAND: files}}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["flux"], "properties": {"flux": flux}}},
            **{kind: {"schema": binary} for kind in ARRAYS},
            "multipart/form-data": {"schema": form},
        },
    }
