"""The page over the network: work that is given up, askers who have gone, and connections that are bounded."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from fastapi import FastAPI
from filelock import FileLock
from scenes import translating
from starlette.exceptions import HTTPException
from test_view import SIZE, WHOLE, asked, client_of, ended, order_of, saved_of

from vfield.field.checkpoint import SavedField
from vfield.show.view import network, server
from vfield.show.view.clips import Clips, temporary_folder
from vfield.show.view.network import MOST_BODY, Server
from vfield.show.view.server import Budget, _ClipFile, make_app, serve
from vfield.show.view.worker import Worker

pytestmark = pytest.mark.slow

LARGE = (1700, 3000)  # 78 chunks of points
CHUNK_SECONDS = 0.5  # that each is made to take, so that a large view takes half a minute and more


def app_of(saved: SavedField) -> FastAPI:
    return make_app(saved, "scene", lambda: pytest.fail("not asked for"))


@pytest.fixture(scope="module")
def saved() -> SavedField:
    return saved_of(translating(SIZE, 3))


@pytest.fixture
def slow(saved: SavedField) -> Iterator[SavedField]:
    """A field that takes its time over many points."""

    def wait(_: object, points: Any) -> None:
        if len(points[0]) > 10_000:
            time.sleep(CHUNK_SECONDS)

    hook = saved.field.register_forward_pre_hook(wait)
    yield saved
    hook.remove()


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    """A page's port on this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    answering = Server(app)
    thread = threading.Thread(target=answering.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield port
    finally:
        answering.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def view_line(**more: Any) -> bytes:
    return f"GET /view?{urlencode(asked(0.01, **more))} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def opened(port: int, words: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(words)
    return connection


# ------------------------------------------------------------------------------------------------ given up


def test_cancel_does_not_wait_for_the_frame_under_way(slow: SavedField) -> None:
    with client_of(slow) as page:
        number = page.post("/clips", json=order_of(width=3000, end=0.1)).json()["number"]
        time.sleep(0.3)
        page.delete(f"/clips/{number}")
        assert ended(page, number)["state"] == "cancelled"  # in ten seconds at most
        assert ended(page, number)["written"] == 0
        assert not list(Path(page.app.state.clips._folder).iterdir())  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_page_whatever_is_under_way(
    slow: SavedField, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    began: list[float] = []
    app = app_of(slow)

    def use(address: str) -> None:
        order = json.dumps(order_of(width=3000, end=0.1)).encode()
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{address}clips", order, headers), timeout=60) as answer:
            assert answer.status == 200
        # A view that waits, half a request, an idle connection, and one that is not read.
        port = int(address.rsplit(":", 1)[1].strip("/"))
        kept.extend(opened(port, words) for words in (view_line(size=LARGE), b"GET / HT", b"", view_line() * 20))
        time.sleep(0.3)
        began.append(time.monotonic())
        os.kill(os.getpid(), number)

    kept: list[socket.socket] = []
    assert serve(app, 0, False, lambda address: threading.Thread(target=use, args=[address]).start())
    # About a second, and more on a machine with much else to do; a frame takes half a minute.
    assert time.monotonic() - began[0] < 15
    assert not list(tmp_path.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name == "vfield view"]
    assert "Traceback" not in capfd.readouterr().err
    for connection in kept:
        connection.close()


def test_work_that_does_not_give_way_is_left(saved: SavedField) -> None:
    worker, stuck = Worker(), threading.Event()
    future = worker.submit(stuck.wait)
    while not future.running():
        time.sleep(0.01)
    assert not worker.close(0.1)
    stuck.set()
    assert worker.close()


def test_views_whose_asker_has_gone_are_not_made(slow: SavedField) -> None:
    app = app_of(slow)
    with served(app) as port:
        gone = [opened(port, view_line(size=LARGE)) for _ in range(20)]
        time.sleep(0.5)
        for connection in gone:
            connection.close()
        # Each would take half a minute.
        with opened(port, view_line(size=(9, 16))) as connection:
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert not app.state.worker._waiting


def test_beyond_a_bound_views_are_refused(saved: SavedField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MOST_VIEWS", 3)
    app, busy = app_of(saved), threading.Event()
    with served(app) as port:
        urlopen(f"http://127.0.0.1:{port}/facts").close()
        app.state.worker.submit(busy.wait)
        waiting = [opened(port, view_line()) for _ in range(3)]
        time.sleep(0.5)
        with opened(port, view_line()) as refused:
            answer = b""
            while not answer.endswith(b"}"):
                answer += refused.recv(1 << 16)
        busy.set()
        for connection in waiting:
            with connection:
                assert connection.recv(12) == b"HTTP/1.1 200"
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer.lower()
    assert b"3 views" in answer


def test_a_budget_gives_back_what_was_taken() -> None:
    budget = Budget(3, 100)
    with budget.taken(60), budget.taken(40):
        with pytest.raises(HTTPException, match="more than 100"), budget.taken(1):
            pass
        with budget.taken(0), pytest.raises(HTTPException, match="3 views"), budget.taken(0):
            pass
    with budget.taken(100):
        pass


# ------------------------------------------------------------------------------------------------ connections


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /clips HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
        b"POST /clips HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"GET /wheel HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP",
    ],
)
def test_half_a_request_does_not_stay(saved: SavedField, half: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "PATIENCE_SECONDS", 0.5)
    with served(app_of(saved)) as port, opened(port, half) as connection:
        # Nor does it for sending a byte now and then.
        is_cut = False
        for _ in range(200):
            time.sleep(0.1)
            try:
                connection.sendall(b"x" if half else b"")
                is_cut = not connection.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                is_cut = True
            if is_cut:
                break
        assert is_cut


def test_a_request_in_parts_is_answered(saved: SavedField) -> None:
    with served(app_of(saved)) as port, opened(port, b"GET /wh") as connection:
        for _ in range(2):
            time.sleep(0.2)
            connection.sendall(b"eel HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"IEND\xaeB`\x82"):
                answer += connection.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET /wh")


def test_an_answer_that_is_not_taken_is_dropped(saved: SavedField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(server, "_MOST_VIEWS", 1)
    # More than the system keeps on the way.
    monkeypatch.setattr(server, "_encoded", lambda *_: bytes(1 << 26))
    with served(app_of(saved)) as port, opened(port, view_line()):
        time.sleep(0.3)
        answers: list[bytes] = []
        while answers[-1:] != [b"HTTP/1.1 200"] and len(answers) < 200:
            with opened(port, view_line()) as connection:
                answers.append(connection.recv(12))
            time.sleep(0.1)
    assert answers[0] == b"HTTP/1.1 503"
    assert answers[-1] == b"HTTP/1.1 200"


def test_connections_are_bounded(saved: SavedField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST_CONNECTIONS", 3)
    with served(app_of(saved)) as port:
        kept = [opened(port) for _ in range(3)]
        with opened(port) as one_more:
            assert one_more.recv(12) == b"HTTP/1.1 503"
        for connection in kept:
            connection.close()
        time.sleep(0.5)
        with opened(port, view_line()) as connection:
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_long_body_is_refused_before_it_is_there(saved: SavedField) -> None:
    head = b"POST /clips HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    with served(app_of(saved)) as port, opened(port, head + chunk * (MOST_BODY // 0x1000 + 1)) as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"


# ------------------------------------------------------------------------------------------------ files


def test_a_clip_stays_while_it_is_read(saved: SavedField, tmp_path: Path) -> None:
    with client_of(saved) as page:
        clips: Clips = page.app.state.clips  # type: ignore[attr-defined]
        first = page.post("/clips", json=order_of(WHOLE, end=0.08)).json()["number"]
        assert ended(page, first)["state"] == "done"
        answer = _ClipFile(clips.find(first))
        path = Path(answer.path)
        second = page.post("/clips", json=order_of(WHOLE, end=0.08)).json()["number"]
        assert ended(page, second)["state"] == "done"
        assert path.stat().st_size
        del answer
        assert not path.exists()
        assert "no such clip" in page.get(f"/clips/{first}/video").json()["error"]
        assert page.get(f"/clips/{second}/video").status_code == 200
        assert [clips.find(second).path] == list(path.parent.iterdir())


def test_what_a_killed_server_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ["vfield-view-dead", "vfield-view-alive", "vfield-view-young", "other"]
    dead, alive, young, other = (tmp_path / name for name in names)
    for folder in (dead, alive, young, other):
        folder.mkdir()
        (folder / "clip.mp4").touch()
        if folder != young:
            os.utime(folder, (0, 0))
    (alive / "lock").touch()
    os.utime(alive, (0, 0))
    with FileLock(alive / "lock"), temporary_folder() as own:
        assert set(tmp_path.iterdir()) == {alive, young, other, own.parent}
    assert set(tmp_path.iterdir()) == {alive, young, other}
