"""Who may ask a server of ours, and how long they may take: for the server of scores and Optuna's dashboard.

A page of another site, open in a browser on this machine, can reach whatever listens here: by a form of its own, or by
a name of its own that it lets point here (DNS rebinding). The browser says by what name it asks, and for what page.
"""

from __future__ import annotations

import asyncio
import ipaddress
import platform
from collections.abc import Collection
from urllib.parse import urlsplit

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 10.0
"""Seconds in which the head of a request has to have come, and until an answer that nobody takes is given up."""

CONNECTIONS = 1024
"""At once; what is beyond is answered 503."""


def refusal(host: str, origin: str, names: Collection[str]) -> str | None:
    """Why a request is refused, or None.

    Args:
        host: header Host, the name that the server is asked by. An address in numbers cannot be let point elsewhere.
        origin: header Origin, where the page is from that asks; empty if it is none.
        names: that the server has beside localhost and this machine's own, in lower case.
    """
    known = {"localhost", platform.node().lower(), *names}
    name = _name(f"//{host}")
    if name not in known and not _in_numbers(name):
        return f"host '{host}' is none of this server's (allowed: {', '.join(sorted(known))}, an address in numbers)"
    if origin and urlsplit(origin).netloc != host and _name(origin) not in names:
        return f"a page of {origin} may not ask this server"
    return None


def _name(address: str) -> str:
    """Of the host; empty of what is no address of a server."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # which tells whether it is one
        return "" if "@" in parts.netloc or parts.path else parts.hostname or ""
    except ValueError:
        return ""


def _in_numbers(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


class Visitors:
    """Lets an application see the requests of its own visitors alone."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to the others."""
        if scope["type"] == "http":
            headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
            told = refusal(headers.get(b"host", ""), headers.get(b"origin", ""), self._names)
            if told:
                await JSONResponse({"detail": told}, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Connection(H11Protocol):
    """Ends a connection whose next request does not come in time, or whose answer nobody takes."""

    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give it time for its first request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # so that it is said when anything waits to be taken
        self._expect_request()

    def on_response_complete(self) -> None:
        """Give it time for its next."""
        self._expect_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give it time to take what waits."""
        super().pause_writing()
        self._untaken = self.loop.call_later(HEAD, self.transport.abort)

    def resume_writing(self) -> None:
        """All was taken."""
        super().resume_writing()
        if self._untaken:
            self._untaken.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        if self._untaken:
            self._untaken.cancel()

    def _expect_request(self) -> None:
        before = self.cycle

        def end() -> None:
            if self.cycle is before and not self.flow.write_paused:
                self.transport.abort()

        self.loop.call_later(HEAD, end)


def server(app: ASGIApp, host: str, port: int) -> uvicorn.Server:
    """A server that runs an application until Ctrl-C or SIGTERM, and answers by then what has come."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=Connection,
            ws="none",
            limit_concurrency=CONNECTIONS,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=60,
        )
    )
