"""`orchestrator serve` as a real process, and real clients of it."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import mlflow
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import architectures
from orchestrator.data.challenge import GROUND, CutoutFiles, scan
from orchestrator.data.fits import read_cutout
from orchestrator.learning.finder import Finder, find
from orchestrator.studies.serving import TOGETHER, WAITING
from orchestrator.tracking import models, store
from tests.cli.calling import Call, start

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CPU = torch.device("cpu")
URI = "models:/lens-finder-ground@champion"
LARGEST = 12
"""Megabytes that the server takes."""

NPZ = {"Content-Type": "application/x-npz"}
JSON = {"Content-Type": "application/json"}


class Server(NamedTuple):
    port: int
    client: httpx.Client
    process: subprocess.Popen[str]
    store: Path


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory whose store has a champion of Ground."""
    folder = tmp_path_factory.mktemp("serving")
    store.connect(f"sqlite:///{folder / 'mlflow.db'}")
    client = store.MlflowClient()
    experiment = client.create_experiment("models", artifact_location=(folder / "artifacts").as_uri())
    run_id = str(client.create_run(experiment).info.run_id)
    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models.log(run_id, Finder(architectures.create("lens_flow", bands=4), "zscale"), GROUND, {})
        for _ in range(2):
            mlflow.register_model(f"runs:/{run_id}/model", "lens-finder-ground")
    client.set_registered_model_alias("lens-finder-ground", "champion", "1")
    return folder


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("serve", "--model", URI, "--port", str(port), "--max-request-mb", str(LARGEST), *options, at=folder)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("lens-finder-ground/1 on http://"), process.communicate()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(100):
                try:
                    assert client.get("/health").json() == {"status": "ok"}
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield Server(port, client, process, folder)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(registered: Path) -> Iterator[Server]:
    with serving(registered) as started:
        yield started


def npz(flux: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.savez(file, flux=flux)
    return file.getvalue()


def form(objects: tuple[CutoutFiles, ...], field: str = "file") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (path.name, path.read_bytes())) for each in objects for path in each.paths]


def logits(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [each["logit"] for each in answer.json()["objects"]]


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    detail: str = answer.json()["detail"]
    assert "\n" not in detail
    return detail


def scores_equal_those_in_process(server: Server, objects: tuple[CutoutFiles, ...]) -> list[dict[str, Any]]:
    """Send objects every way there is; what is told of them is the same each time."""
    flux = np.stack([read_cutout(each.paths) for each in objects])
    store.connect(f"sqlite:///{server.store / 'mlflow.db'}")
    model = models.load(URI, CPU)
    expected = find(model.finder, flux, CPU)
    told = {}
    for way, request in {
        "arrays": {"content": npz(flux), "headers": NPZ},
        "JSON": {"content": json.dumps({"flux": flux.tolist()}), "headers": JSON},
        "named files": {"files": form(objects)[::-1]},
        "files in order": {"files": form(objects, "bands")},
    }.items():
        answer = server.client.post("/score", **request)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["model"], answer.json()["digest"]) == ("lens-finder-ground/1", model.digest)
        found = answer.json()["objects"]
        told[way] = found[::-1] if way == "named files" else found
        np.testing.assert_allclose([each["logit"] for each in told[way]], expected[0], atol=1e-6, err_msg=way)
        np.testing.assert_allclose([each["probability"] for each in told[way]], expected[1], atol=1e-6, err_msg=way)
    assert [each["id"] for each in told["arrays"]] == [str(number) for number in range(len(objects))]
    assert [each["id"] for each in told["files in order"]] == [each.paths[0].name for each in objects]
    assert len({tuple(each["masked"] for each in found) for found in told.values()}) == 1
    return told["files in order"]


def test_scores_are_those_of_the_model_whatever_way_cutouts_are_sent(server: Server, small_ground: Path) -> None:
    scores_equal_those_in_process(server, scan(small_ground).objects[:8])


def test_real_cutouts_are_scored_and_their_masked_pixels_counted(server: Server, challenge1: Path) -> None:
    told = scores_equal_those_in_process(server, scan(challenge1 / "ground").objects)
    masked = {each["id"]: each["masked"] for each in told}
    assert masked["imageSDSS_R-100023.fits"] >= 15
    assert masked["imageSDSS_R-100003.fits"] >= 49


def test_of_a_hundred_requests_at_once_none_is_lost_and_each_gets_its_own(server: Server, small_ground: Path) -> None:
    objects = scan(small_ground).objects
    flux = np.stack([read_cutout(each.paths) for each in objects])
    alone = [logits(server.client.post("/score", content=npz(each[None]), headers=NPZ))[0] for each in flux]
    assert len({round(each, 4) for each in alone}) > 10

    def send(number: int) -> float:
        at = number % len(objects)
        ways = ({"content": npz(flux[at][None]), "headers": NPZ}, {"files": form(objects[at : at + 1])})
        (found,) = logits(httpx.post(f"{server.client.base_url}/score", **ways[number % 2], timeout=60))
        return found

    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(send, range(100)))
    np.testing.assert_allclose(found, [alone[number % len(objects)] for number in range(100)], atol=1e-6)


def test_a_bad_cutout_is_told_beside_the_others_and_nothing_but_bad_ones_is_refused(
    server: Server, small_ground: Path
) -> None:
    files = form(scan(small_ground).objects[:2])
    name, content = files[5][1]
    files[5] = ("file", (name, content[:20_000]))
    answer = server.client.post("/score", files=files)
    assert [each is None for each in logits(answer)] == [False, True]
    bad = answer.json()["objects"][1]
    assert bad["bad"].startswith(f"{name}: not a readable FITS file")
    assert bad["probability"] is None
    detail = refused(server.client.post("/score", files=files[4:]), 422)
    assert detail.startswith(f"{name}: not a readable FITS file")
    blank = np.full((3, 4, 101, 101), np.nan, np.float32)
    detail = refused(server.client.post("/score", content=npz(blank), headers=NPZ), 422)
    assert detail == "cutout 0: not one finite pixel in band R (and none of 2 others can be scored)"


def test_what_is_no_request_for_scores_says_what_is_allowed(server: Server) -> None:
    post = server.client.post
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    assert "nothing is unpickled" in refused(post("/score", content=pickled.getvalue(), headers=NPZ), 422)
    one_band = npz(np.zeros((1, 1, 101, 101), np.float32))
    assert "(n, 4, 101, 101) is expected" in refused(post("/score", content=one_band, headers=NPZ), 422)
    assert "no cutouts" in refused(post("/score", json={"flux": []}), 422)
    assert "not JSON" in refused(post("/score", content=b"{", headers=JSON), 422)
    text = post("/score", data={"file": "a"}, files={"b": b""})
    assert refused(text, 422) == "field 'file' holds text; files are expected (with curl: --form file=@PATH)"
    assert "(allowed: application/json, " in refused(post("/score", content=b"a"), 415)
    assert "boundary" in refused(post("/score", content=b"a", headers={"Content-Type": "multipart/form-data"}), 400)
    refused(server.client.get("/score"), 405)
    refused(server.client.get("/nowhere"), 404)


def test_a_request_too_large_is_refused_while_it_comes(server: Server) -> None:
    post = server.client.post
    told = f"the request is too large; {LARGEST} MB are allowed"
    assert refused(post("/score", content=bytes(LARGEST * 10**6 + 1), headers=NPZ), 413) == told
    parts = (bytes(10**6) for _ in range(LARGEST + 1))  # without a length before
    assert refused(post("/score", content=parts, headers=NPZ), 413) == told
    assert refused(post("/score", files={"file": bytes(LARGEST * 10**6)}), 413) == told
    unpacked = io.BytesIO()
    np.savez_compressed(unpacked, flux=np.zeros((100, 4, 101, 101), np.float32))
    assert "100 cutouts at once; 73 of float32" in refused(
        post("/score", content=unpacked.getvalue(), headers=NPZ), 422
    )


def begin(server: Server, length: int, sent: int) -> socket.socket:
    """Begin a request, and leave it at that."""
    opened = socket.create_connection(("127.0.0.1", server.port))
    head = (
        f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    opened.sendall(head.encode() + bytes(sent))
    return opened


@pytest.mark.parametrize(("requests", "size"), [(WAITING, 1), (TOGETHER + 1, LARGEST * 10**6 - 1)])
def test_what_is_too_much_at_once_is_asked_to_come_again(
    requests: int, size: int, server: Server, small_ground: Path
) -> None:
    cutout = npz(read_cutout(scan(small_ground).objects[0].paths)[None])
    with ExitStack() as opened:
        for _ in range(requests):
            opened.enter_context(closing(begin(server, LARGEST * 10**6, size)))
        for _ in range(100):
            answer = server.client.post("/score", content=cutout, headers=NPZ)
            if answer.status_code == 503:
                break
            time.sleep(0.1)  # this request may have taken the place of the last one
            opened.enter_context(closing(begin(server, LARGEST * 10**6, size)))
        assert "come again" in refused(answer, 503)
        assert answer.headers["Retry-After"] == "5"
        assert server.client.get("/health").status_code == 200
    for _ in range(100):
        answer = server.client.post("/score", content=cutout, headers=NPZ)
        if answer.status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError(answer.text)


def test_the_server_says_what_it_serves_though_its_alias_moves(server: Server) -> None:
    client = store.MlflowClient(f"sqlite:///{server.store / 'mlflow.db'}")
    client.set_registered_model_alias("lens-finder-ground", "champion", "2")
    try:
        about = server.client.get("/version").json()
    finally:
        client.set_registered_model_alias("lens-finder-ground", "champion", "1")
    assert about["model"] == "lens-finder-ground/1"
    assert (about["set"], about["bands"], about["size"]) == ("ground", ["R", "I", "G", "U"], 101)
    assert (len(about["digest"]), about["max_request_mb"]) == (64, LARGEST)
    page = server.client.get("/").text
    assert "lens-finder-ground/1" in page
    assert "curl --form file=@imageSDSS_R-ID.fits" in page
    assert "//" not in page.replace(f"http://127.0.0.1:{server.port}/", "")  # it loads nothing from elsewhere
    described = server.client.get("/openapi.json").json()["paths"]["/score"]["post"]
    assert {"application/json", "multipart/form-data"} < described["requestBody"]["content"].keys()
    refused(server.client.get("/docs"), 404)


def test_a_server_that_is_stopped_answers_what_has_come(registered: Path, small_ground: Path) -> None:
    content = npz(read_cutout(scan(small_ground).objects[0].paths)[None])
    with serving(registered, "--host", "0.0.0.0") as server:
        half = len(content) // 2

        def parts() -> Iterator[bytes]:
            yield content[:half]
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            yield content[half:]

        assert len(logits(server.client.post("/score", content=parts(), headers=NPZ))) == 1
        out, told = server.process.communicate(timeout=30)
        assert server.process.returncode == 0
        assert out == "stopped\n"
        assert told.startswith("0.0.0.0: anyone who reaches this port can send, there is no authentication")
        assert "Traceback" not in told


def test_what_cannot_be_served_is_told_at_once(call: Call, registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(registered)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "choose another" in call("serve", "--model", URI, "--port", port, expect=2).output
    result = call("serve", "--model", URI, "--host", "no.such.host.invalid", expect=2)
    assert "no.such.host.invalid:8000" in result.output
    assert "allowed: models:/NAME@ALIAS" in call("serve", "--model", "models:/none@champion", expect=2).output
