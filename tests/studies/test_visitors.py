"""Who is let in by the server of scores, and for how long: a real server in this process, and sockets."""

from __future__ import annotations

import gzip
import platform
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread

import httpx
import pytest
import torch
from fastapi import FastAPI

import architectures
from orchestrator.data.challenge import SPACE
from orchestrator.learning.finder import Finder
from orchestrator.studies import serving, visitors
from orchestrator.studies.visitors import refusal
from orchestrator.tracking.models import Model

NODE = platform.node().lower()


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", ""),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("192.168.1.7:8000", ""),
        ("[::1]:8000", "http://[::1]:8000"),
        (NODE, ""),
        ("Scores.Example.org", "https://Scores.Example.org"),
        ("127.0.0.1:8000", "https://scores.example.org"),  # a proxy that asks by another name
    ],
)
def test_a_server_answers_to_its_names_and_its_own_pages(host: str, origin: str) -> None:
    assert refusal(host, origin, {"scores.example.org"}) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("", ""),
        ("evil.example.org", ""),
        ("localhost.evil.example.org:8000", ""),
        ("10.evil.example.org", ""),
        ("127.0.0.1@evil.example.org", ""),
        ("evil@127.0.0.1", ""),
        ("127.0.0.1:port", ""),
        ("127.0.0.1/x", ""),
        ("localhost:8000", "http://evil.example.org"),
        ("localhost:8000", "null"),
        ("localhost:8000", "http://localhost:3000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000.evil.example.org"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000@evil.example.org"),
    ],
)
def test_other_names_and_other_pages_are_refused(host: str, origin: str) -> None:
    assert refusal(host, origin, {"scores.example.org"}) is not None


@pytest.fixture(scope="module")
def app() -> FastAPI:
    torch.manual_seed(1)
    finder = Finder(architectures.create("lens_flow", bands=1), "none")
    model = Model(torch.fx.symbolic_trace(torch.nn.Identity()), SPACE, "lens-finder-space/1", "0" * 64, {}, None)  # type: ignore[arg-type]
    return serving.app(model._replace(finder=finder), torch.device("cpu"), 10**6)  # type: ignore[arg-type]


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = visitors.server(app, "127.0.0.1", port)
    thread = Thread(target=server.run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join()


def answer(port: int, sent: bytes, wait: float = 20) -> bytes:
    """What comes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as opened:
        opened.sendall(sent)
        found = b""
        while more := opened.recv(65536):
            found += more
        return found


def test_foreign_hosts_and_pages_are_answered_403(app: FastAPI) -> None:
    with served(app) as port:
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{address}/health").status_code == 200
        for headers in ({"Host": "evil.example.org"}, {"Origin": "http://evil.example.org"}, {"Origin": "null"}):
            for method, path in (("GET", "/version"), ("GET", "/"), ("POST", "/score"), ("OPTIONS", "/score")):
                refused = httpx.request(method, address + path, headers=headers)
                assert refused.status_code == 403, (headers, path)
                assert "access-control-allow-origin" not in refused.headers
        assert b" 400 " in answer(port, b"GET /health HTTP/1.1\r\n\r\n")
        assert b" 403 " in answer(port, b"GET /health HTTP/1.0\r\n\r\n")


def test_a_packed_request_is_refused_and_a_long_one_too(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "HEAD", 1.0)
    with served(app) as port:
        packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        refused = httpx.post(f"http://127.0.0.1:{port}/score", content=gzip.compress(bytes(10**6)), headers=packed)
        assert (refused.status_code, "content encoding 'gzip'" in refused.text) == (415, True)
        assert b" 400 " in answer(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + 10**5 * b"x")
        head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        assert b" 413 " in answer(port, head + 20 * (b"ffff\r\n" + bytes(0xFFFF) + b"\r\n"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_requests_that_do_not_come_in_time_are_ended(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "HEAD", 1.0)
    monkeypatch.setattr(serving, "PATIENCE", 1.0)
    post = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with served(app) as port:
        assert answer(port, b"") == b""
        assert answer(port, b"GET / HTTP/1.1\r\nHost: loc") == b""
        assert b" 408 " in answer(port, post + b"{")
        assert b" 200 " in answer(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he")

        def trickle() -> None:
            with socket.create_connection(("127.0.0.1", port)) as opened:
                for _ in range(100):
                    opened.sendall(b"X")
                    time.sleep(0.1)

        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            trickle()


@pytest.mark.slow
def test_answers_that_nobody_takes_are_given_up(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "HEAD", 1.0)
    with served(app) as port, socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", port))
        opened.settimeout(20)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(ConnectionError):
            opened.sendall(asked * 10**6)


def test_more_connections_than_there_is_room_for_are_told_so(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "CONNECTIONS", 20)
    with served(app) as port, ExitStack() as opened:
        for _ in range(25):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.5)
        assert b" 503 " in answer(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
