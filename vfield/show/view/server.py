"""The page's server. It listens to this machine alone, and reads no file that a request names."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import uvicorn
from einops import rearrange
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import flow_to_image

from vfield.core.coords import pixel_uv
from vfield.core.errors import UserError
from vfield.core.timing import as_typed
from vfield.field.checkpoint import SavedField
from vfield.output.config import ExportConfig
from vfield.show.view.clips import Clips, Job, framing
from vfield.show.view.connections import Connection, Server
from vfield.show.view.guard import Guard, refusal
from vfield.show.view.scratch import scratch
from vfield.show.view.source import Scaling, SourceFrames, kept_frames
from vfield.show.view.viewer import Viewer
from vfield.show.view.views import LARGEST_PICTURE, LARGEST_SIDE, Layer, View
from vfield.show.view.watch import OutdatedError
from vfield.show.view.worker import Budget, BusyError, Newest, Worker

_LOG = logging.getLogger("vfield")
_LOOPBACK = "127.0.0.1"
_HOSTS = [_LOOPBACK, "localhost"]
_PAGE = {"/": "view.html", "/view.css": "view.css", "/view.js": "view.js", "/stage.js": "stage.js"}
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_WHEEL_SIDE = 96  # pixels
_MOST_VIEWS = 32  # asked for at once; a page asks for four
_MOST_PIXELS = 2 * LARGEST_PICTURE  # of these: a picture that is saved, and what is on a screen
_PART_BYTES = 1 << 18  # of an answer that are handed on at once
_PATIENCE_SECONDS = 1.0  # for work that should give way

Number = Annotated[float, Field(allow_inf_nan=False)]


class ViewQuery(BaseModel):
    """What the page asks of a view: `View`, and how to send it."""

    t: Number
    u0: Number
    v0: Number
    u1: Number
    v1: Number
    width: int = Field(ge=1, le=LARGEST_SIDE)
    height: int = Field(ge=1, le=LARGEST_SIDE)
    layer: Layer = "field"
    scaling: Scaling = "lanczos"
    format: Literal["png", "jpeg"] = "png"
    asker: str = Field(default="", max_length=64)
    number: int = Field(default=0, ge=0, le=1 << 53)


class ClipOrder(BaseModel):
    """What the page asks of a clip: the part in view, from `start` to `end`, `slowmo` times as long."""

    u0: Number
    v0: Number
    u1: Number
    v1: Number
    width: int = Field(ge=2, le=LARGEST_SIDE)
    start: Number
    end: Number
    slowmo: Number = 1.0
    fps: Number | None = None


def make_app(
    saved: SavedField, name: str, read_source: Callable[[], SourceFrames], device: torch.device | str = "cpu"
) -> FastAPI:
    """The page and what it asks for.

    Args:
        saved: the field, on `device`, and the facts of its clip.
        name: what to call it.
        read_source: gives the source's frames where the field holds none; may raise a UserError.
        device: where the field lies.
    """
    kept = kept_frames(saved.field)
    viewer = Viewer(saved, read_source if kept is None else lambda: kept, device)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = Worker()
        with scratch() as folder:
            app.state.worker = worker
            app.state.clips = Clips(saved, worker, folder, device)
            try:
                yield
            finally:
                app.state.has_ended = worker.close(_PATIENCE_SECONDS)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    # The outermost: a name that somebody else resolves to this machine must reach nothing.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)
    _add_refusals(app)
    for address, file in _PAGE.items():
        app.add_api_route(address, _page(file))
    app.add_api_route("/facts", _facts_of(saved, name, kept))
    app.add_api_route("/wheel", _wheel)
    _add_views(app, viewer)
    _add_clips(app, saved, name)
    return app


def _add_views(app: FastAPI, viewer: Viewer) -> None:
    newest, budget = Newest(), Budget(_MOST_VIEWS, _MOST_PIXELS)

    @app.get("/view")
    async def view(asked: Annotated[ViewQuery, Query()]) -> Response:
        region = (asked.u0, asked.v0, asked.u1, asked.v1)
        wanted = View(asked.t, region, (asked.height, asked.width), asked.layer, asked.scaling)
        if wanted.layer == "motion" and asked.format == "jpeg":
            raise UserError("motion is partly transparent, which jpeg cannot be; ask for png")
        if asked.asker:
            newest.note(asked.asker, asked.number)

        def outdated() -> bool:
            return asked.asker != "" and newest.is_outdated(asked.asker, asked.number)

        def make(given_up: Callable[[], bool]) -> bytes:
            return _coded(viewer.picture(wanted, given_up), asked.format, given_up)

        return _Picture(app.state.worker, budget, asked.height * asked.width, make, outdated, f"image/{asked.format}")


class _Picture(Response):
    """A picture that is made while its asker waits, and given up when they have gone."""

    def __init__(
        self,
        worker: Worker,
        budget: Budget,
        pixels: int,
        make: Callable[[Callable[[], bool]], bytes],
        outdated: Callable[[], bool],
        media_type: str,
    ) -> None:
        super().__init__(media_type=media_type)
        self._worker, self._budget, self._pixels = worker, budget, pixels
        self._make, self._outdated = make, outdated
        self._has_gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._budget.taken(self._pixels):
            picture = await self._made(receive)
            self.headers["Content-Length"] = str(len(picture))
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # In parts: whoever is slow to take them keeps one copy of the picture here, not three.
            for start in range(0, len(picture), _PART_BYTES):
                part, more = picture[start : start + _PART_BYTES], start + _PART_BYTES < len(picture)
                await send({"type": "http.response.body", "body": part, "more_body": more})

    async def _made(self, receive: Receive) -> bytes:
        gone = asyncio.ensure_future(_gone(receive))
        made = asyncio.wrap_future(self._worker.submit(lambda: self._make(self._given_up), self._given_up))
        try:
            waiting: list[asyncio.Future[Any]] = [gone, made]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                self._has_gone = True
                self._worker.sweep()
            # Also of one who has gone: until the work has given way, it takes its memory.
            return await made
        finally:
            self._has_gone = True
            gone.cancel()

    def _given_up(self) -> bool:
        return self._has_gone or self._worker.is_closing or self._outdated()


async def _gone(receive: Receive) -> None:
    """Wait until the asker has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _add_clips(app: FastAPI, saved: SavedField, name: str) -> None:
    @app.post("/clips")
    async def begin(order: ClipOrder) -> dict[str, Any]:
        framed = framing((order.u0, order.v0, order.u1, order.v1), order.width, saved.facts)
        config = ExportConfig(
            size=framed.size,
            crop=framed.crop,
            start=order.start,
            end=order.end,
            slowmo=as_typed(order.slowmo),
            fps=None if order.fps is None else as_typed(order.fps),
            audio="drop",
        )
        job = app.state.clips.begin(config, f"{name}-{order.start:.2f}-{order.end:.2f}s.mp4")
        return _told(job)

    @app.get("/clips/{number}")
    async def progress(number: str) -> dict[str, Any]:
        return _told(app.state.clips.find(number))

    @app.delete("/clips/{number}")
    async def cancel(number: str) -> dict[str, Any]:
        job = app.state.clips.find(number)
        job.cancelled = True
        return _told(job)

    @app.get("/clips/{number}/video")
    async def video(number: str) -> Response:
        return _ClipFile(app.state.clips, app.state.clips.find(number))


class _ClipFile(FileResponse):
    """A clip, which stays where it is until all of it is sent."""

    def __init__(self, clips: Clips, job: Job) -> None:
        super().__init__(job.path, media_type="video/mp4", filename=job.name)
        self._clips, self._job = clips, job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._clips.reading(self._job):
            await super().__call__(scope, receive, send)


def _told(job: Job) -> dict[str, Any]:
    return {
        "number": job.number,
        "state": job.state,
        "written": job.written,
        "frames": job.frames,
        "error": " ".join(job.error.split()),
    }


def _facts_of(saved: SavedField, name: str, kept: SourceFrames | None) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Tells what the page must know of the field, times in seconds since the first frame."""
    facts, field = saved.facts, saved.field
    origin = facts.pts_seconds[0]
    times = [float(pts - origin) for pts in facts.pts_seconds]
    t = field.timeline.t.tolist()
    told = {
        "name": name,
        "width": facts.width,
        "height": facts.height,
        "pixel_aspect": float(facts.pixel_aspect),
        "frame_rate": float(facts.frame_rate),
        "frames": times,
        "source_frames": times if kept is None else kept.t.tolist(),
        "duration": float(facts.end_seconds - origin),
        "cuts": [t[shot.start] for shot in field.timeline.shots[1:]],
        "motion": field.motion is not None and len(times) > 1,
    }

    async def tell() -> dict[str, Any]:
        return told

    return tell


class _Watched(io.BytesIO):
    """A file in memory that takes nothing more once it is given up."""

    def __init__(self, given_up: Callable[[], bool]) -> None:
        super().__init__()
        self._given_up = given_up

    def write(self, part: Any) -> int:
        if self._given_up():
            raise OutdatedError
        return super().write(part)


def _coded(picture: Tensor, format: Literal["png", "jpeg"], given_up: Callable[[], bool] = lambda: False) -> bytes:
    """A picture (3 or 4, h, w) uint8 as a file.

    Raises:
        OutdatedError: when it was given up.
    """
    buffer = _Watched(given_up)
    # Speed counts and size does not, on the way from a machine to itself.
    options = {"compress_level": 1} if format == "png" else {"quality": 92, "subsampling": 0}
    to_pil_image(picture).save(buffer, format=format, **options)
    return buffer.getvalue()


async def _wheel() -> Response:
    return Response(_wheel_png(), media_type="image/png")


@cache
def _wheel_png() -> bytes:
    """The colours of all directions of motion, by the place on a disc that each points to."""
    uv = 2 * pixel_uv(_WHEEL_SIDE, _WHEEL_SIDE) - 1
    length = uv.norm(dim=-1, keepdim=True)
    colours = flow_to_image(rearrange(uv / length, "h w c -> c h w"))
    opacity = (255 * length[..., 0] * (length[..., 0] <= 1)).round().to(torch.uint8)
    return _coded(torch.cat([colours, opacity[None]]), "png")


def _page(name: str) -> Callable[[], Awaitable[Response]]:
    async def part() -> Response:
        text = (files("vfield.show.view") / "page" / name).read_text(encoding="utf-8")
        return Response(text, media_type=_KINDS[Path(name).suffix])

    return part


# ------------------------------------------------------------------------------------------- what is refused


def _add_refusals(app: FastAPI) -> None:
    """Have whatever is wrong with a request answered in one line."""
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(UserError, lambda _, error: refusal(400, str(error)))
    app.add_exception_handler(OutdatedError, lambda _, error: refusal(409, "outdated: it was given up"))
    app.add_exception_handler(BusyError, lambda _, error: refusal(503, str(error), **{"Retry-After": "1"}))


def _bad_request(_: Request, error: Exception) -> Response:
    """All that is wrong with a request's values."""
    assert isinstance(error, RequestValidationError)
    found = [f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors()]
    return refusal(422, "; ".join(found))


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, str(error.detail), **dict(error.headers or {}))


# ------------------------------------------------------------------------------------------- the server


def server_of(app: FastAPI) -> Server:
    """What answers for the page. It ends at the first Ctrl-C, whatever is under way."""
    config = uvicorn.Config(
        app, http=Connection, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    return Server(config, lambda: app.state.worker.end_work())


def serve(app: FastAPI, port: int, open_browser: bool, tell: Callable[[str], None]) -> bool:
    """Tell the page's address and answer until Ctrl-C.

    Args:
        app: the page.
        port: 0 for any that is free.
        open_browser: show the page in the person's browser.
        tell: is given the address as soon as the page can be asked for.

    Returns:
        Whether all work has ended. What cannot be interrupted goes on in its thread.

    Raises:
        UserError: when the port cannot be had.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"port must be 0 (any that is free) to 65535, got {port}")
    listening = socket.socket()
    # Right after another server there has ended, the port may be taken again.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_LOOPBACK, port))
    except OSError as error:
        listening.close()
        raise UserError(f"port {port} cannot be had ({error.strerror}); choose another, or 0 for any") from error
    server = server_of(app)
    app.state.has_ended = True
    # Ctrl-C is how it is meant to end, before it has quite begun, too.
    with listening, suppress(KeyboardInterrupt), server.capture_signals():
        listening.listen()
        address = f"http://{_LOOPBACK}:{listening.getsockname()[1]}/"
        tell(address)
        if open_browser:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.run(sockets=[listening])
    _LOG.info("ended")
    return bool(app.state.has_ended)
