"""A real MLflow server on loopback that tests can end, and a proxy before it that fails as they say."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """An MLflow server that a test can kill and start again."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self._home}/mlflow.db"),
            *("--artifacts-destination", str(self._home / "artifacts")),
        ]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 120
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", self.port)) != 0:
                assert time.monotonic() < end
                time.sleep(0.2)

    def kill(self) -> None:
        """End it and its workers without notice."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


Fails = Callable[[str, str], int | None]
"""From method and path of a request to the status that it is answered with; 0 closes the connection, None passes."""


@contextmanager
def proxy(server: Server, fails: Fails) -> Iterator[str]:
    """The address of a proxy before a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = fails(self.command, self.path)
            if status == 0:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if status is None:
                upstream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                headers = {key: each for key, each in self.headers.items() if key != "Host"}
                upstream.request(self.command, self.path, body, headers)
                response = upstream.getresponse()
                status, body = response.status, response.read()
                upstream.close()
            else:
                body = b"no"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    before = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=before.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{before.server_address[1]}"
    finally:
        before.shutdown()
        before.server_close()
