"""Serves Optuna's pages of searches, from this very process: its own server takes requests for any host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from orchestrator.studies.storage import Storage
from orchestrator.studies.visitors import HEAD, refusal


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = HEAD

    def log_message(self, *_: object) -> None:
        """Say nothing of single requests."""


@contextmanager
def serving(storage: Storage, host: str, port: int) -> Iterator[None]:
    """Serve the pages while what is inside goes on."""
    pages = optuna_dashboard.wsgi(storage)

    def guarded(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        told = refusal(environment.get("HTTP_HOST", ""), environment.get("HTTP_ORIGIN", ""), ())
        if told:
            start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [told.encode()]
        found: Iterable[bytes] = pages(environment, start)
        return found

    with make_server(host, port, guarded, _Server, _Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
