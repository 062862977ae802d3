"""The page's server. It listens to this machine alone, and reads no file that a request names."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from typing import Annotated, Any, Literal

import torch
from einops import rearrange
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import flow_to_image

from vfield.core.coords import pixel_uv
from vfield.core.errors import UserError
from vfield.field.checkpoint import SavedField
from vfield.show.view.clips import ClipOrder, Clips, Job, temporary_folder
from vfield.show.view.network import Guard, Server, refusal
from vfield.show.view.source import SourceFrames, frames_of_field
from vfield.show.view.viewer import LARGEST_PICTURE, View, Viewer
from vfield.show.view.worker import GivenUpError, Worker

_LOG = logging.getLogger("vfield")
_LOOPBACK = "127.0.0.1"
_HOSTS = [_LOOPBACK, "localhost"]
_PAGE = {
    "/": ("view.html", "text/html"),
    "/view.css": ("view.css", "text/css"),
    "/view.js": ("view.js", "text/javascript"),
    "/stage.js": ("stage.js", "text/javascript"),
}
_WHEEL_SIDE = 96  # pixels
_MOST_ASKERS = 256  # remembered
_MOST_VIEWS = 32  # asked for at once; a page asks for four
_MOST_PIXELS = 2 * LARGEST_PICTURE  # of these: a picture that is saved, and what is on a screen
_PART_BYTES = 1 << 18  # of an answer that are handed on at once
_PATIENCE_SECONDS = 1.0  # for work that should give way


def make_app(
    saved: SavedField, name: str, read_source: Callable[[], SourceFrames], device: torch.device | str = "cpu"
) -> FastAPI:
    """The page and what it asks for, of a field on `device` with the facts of its clip.

    `name` is what to call it; `read_source` gives the source's frames where the field holds none, or raises a
    UserError.
    """
    own_frames = frames_of_field(saved.field)
    viewer = Viewer(saved, read_source if own_frames is None else lambda: own_frames, device)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = Worker()
        with temporary_folder() as folder:
            app.state.worker = worker
            app.state.clips = Clips(saved, worker, folder, device)
            try:
                yield
            finally:
                app.state.has_ended = worker.close(_PATIENCE_SECONDS)

    # The outermost comes first: a name that somebody else resolves to this machine must reach nothing.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)
    app = FastAPI(
        lifespan=lifespan,
        middleware=[hosts, Middleware(Guard)],
        exception_handlers=dict.fromkeys((RequestValidationError, HTTPException, UserError, GivenUpError), _refused),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    for address, (file, media_type) in _PAGE.items():
        text = (files("vfield.show.view") / "page" / file).read_text(encoding="utf-8")
        _add_constant(app, address, Response(text, media_type=media_type))
    _add_constant(app, "/facts", JSONResponse(_facts(saved, name, own_frames)))
    _add_constant(app, "/wheel", Response(_wheel(), media_type="image/png"))
    _add_views(app, viewer)
    _add_clips(app, saved, name)
    return app


def _add_constant(app: FastAPI, address: str, response: Response) -> None:
    @app.get(address)
    async def constant() -> Response:
        return response


def _facts(saved: SavedField, name: str, own_frames: SourceFrames | None) -> dict[str, Any]:
    """What the page must know of the field, times in seconds since the first frame."""
    facts, field = saved.facts, saved.field
    origin = facts.pts_seconds[0]
    times = [float(pts - origin) for pts in facts.pts_seconds]
    t = field.timeline.t.tolist()
    return {
        "name": name,
        "width": facts.width,
        "height": facts.height,
        "pixel_aspect": float(facts.pixel_aspect),
        "frame_rate": float(facts.frame_rate),
        "frames": times,
        "source_frames": times if own_frames is None else own_frames.t.tolist(),
        "duration": float(facts.end_seconds - origin),
        "cuts": [t[shot.start] for shot in field.timeline.shots[1:]],
        "motion": field.motion is not None and len(times) > 1,
    }


def _wheel() -> bytes:
    """The colours of all directions of motion, by the place on a disc that each points to: a PNG."""
    uv = 2 * pixel_uv(_WHEEL_SIDE, _WHEEL_SIDE) - 1
    length = uv.norm(dim=-1, keepdim=True)
    colours = flow_to_image(rearrange(uv / length, "h w c -> c h w"))
    opacity = (255 * length[..., 0] * (length[..., 0] <= 1)).round().to(torch.uint8)
    return _encoded(torch.cat([colours, opacity[None]]), "png", lambda: False)


async def _refused(_: Request, error: Exception) -> Response:
    """What is wrong with a request, in one line."""
    if isinstance(error, RequestValidationError):
        return refusal(422, "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors()))
    if isinstance(error, HTTPException):
        return refusal(error.status_code, str(error.detail), **dict(error.headers or {}))
    if isinstance(error, GivenUpError):
        return refusal(409, "outdated: it was given up")
    return refusal(400, str(error))


class NewestRequests:
    """The number of the newest request of each asker. Who asks again no longer waits for what was asked before."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def note(self, asker: str, number: int) -> None:
        """A request has come."""
        self._numbers[asker] = max(number, self._numbers.pop(asker, number))
        if len(self._numbers) > _MOST_ASKERS:
            del self._numbers[next(iter(self._numbers))]

    def is_outdated(self, asker: str, number: int) -> bool:
        """Whether a newer one has come since."""
        return self._numbers.get(asker, number) > number


class Budget:
    """How much may be under way at once, from being asked for until it is sent: so many views, of so many pixels."""

    def __init__(self, most: int, most_pixels: int) -> None:
        self._most, self._most_pixels = most, most_pixels
        self._taken: list[int] = []  # pixels of each view

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Take a view of so many pixels out of it for a while; a 503, with what is too much, when that is not left."""
        refused, taken = "", sum(self._taken)
        if len(self._taken) == self._most:
            refused = f"{self._most} views are being made or wait; ask again in a second"
        elif taken + pixels > self._most_pixels:
            refused = (
                f"views of {taken} pixels are being made, {pixels} more would make it more than {self._most_pixels}; "
                "ask again in a second, or for a smaller one"
            )
        if refused:
            raise HTTPException(503, f"busy: {refused}", {"Retry-After": "1"})
        self._taken.append(pixels)
        try:
            yield
        finally:
            self._taken.remove(pixels)


def _add_views(app: FastAPI, viewer: Viewer) -> None:
    newest, budget = NewestRequests(), Budget(_MOST_VIEWS, _MOST_PIXELS)

    @app.get("/view")
    async def view(asked: Annotated[View, Query()]) -> Response:
        asked.check()
        if asked.asker:
            newest.note(asked.asker, asked.number)

        def is_outdated() -> bool:
            return newest.is_outdated(asked.asker, asked.number)

        return _Picture(viewer, asked, app.state.worker, budget, is_outdated)


class _Picture(Response):
    """A picture that is made while its asker waits, and given up when they have gone."""

    def __init__(
        self, viewer: Viewer, view: View, worker: Worker, budget: Budget, is_outdated: Callable[[], bool]
    ) -> None:
        super().__init__(media_type=f"image/{view.format}")
        self._viewer, self._view, self._worker, self._budget = viewer, view, worker, budget
        self._is_outdated = is_outdated
        self._has_gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._budget.taken(self._view.height * self._view.width):
            picture = await self._made(receive)
            self.headers["Content-Length"] = str(len(picture))
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # In parts: whoever is slow to take them keeps one copy of the picture here, not three.
            for start in range(0, len(picture), _PART_BYTES):
                part, more = picture[start : start + _PART_BYTES], start + _PART_BYTES < len(picture)
                await send({"type": "http.response.body", "body": part, "more_body": more})

    async def _made(self, receive: Receive) -> bytes:
        gone = asyncio.ensure_future(_disconnected(receive))

        def make() -> bytes:
            return _encoded(self._viewer.picture(self._view, self._given_up), self._view.format, self._given_up)

        made = asyncio.wrap_future(self._worker.submit(make, self._given_up))
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
        return self._has_gone or self._worker.is_closing or self._is_outdated()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _encoded(picture: Tensor, format: Literal["png", "jpeg"], given_up: Callable[[], bool]) -> bytes:
    """A picture (3 or 4, h, w) uint8 as a file; a GivenUpError when it was given up."""

    class Interruptible(io.BytesIO):
        def write(self, part: Any) -> int:
            if given_up():
                raise GivenUpError
            return super().write(part)

    buffer = Interruptible()
    # Speed counts and size does not, on the way from a machine to itself.
    options = {"compress_level": 1} if format == "png" else {"quality": 92, "subsampling": 0}
    to_pil_image(picture).save(buffer, format=format, **options)
    return buffer.getvalue()


def _add_clips(app: FastAPI, saved: SavedField, name: str) -> None:
    @app.post("/clips")
    async def begin(order: ClipOrder) -> dict[str, Any]:
        called = f"{name}-{order.start:.2f}-{order.end:.2f}s.mp4"
        job: Job = app.state.clips.begin(order.config(saved.facts), called)
        return job.progress()

    @app.get("/clips/{number}")
    async def progress(number: str) -> dict[str, Any]:
        job: Job = app.state.clips.find(number)
        return job.progress()

    @app.delete("/clips/{number}")
    async def cancel(number: str) -> dict[str, Any]:
        job: Job = app.state.clips.find(number)
        job.cancelled = True
        return job.progress()

    @app.get("/clips/{number}/video")
    async def video(number: str) -> Response:
        return _ClipFile(app.state.clips.find(number))


class _ClipFile(FileResponse):
    """A clip, which stays where it is until all of it is sent."""

    def __init__(self, job: Job) -> None:
        if job.state != "done":
            raise UserError(f"the clip is not there to download: {job.state}")
        super().__init__(job.path, media_type="video/mp4", filename=job.name)
        self._job = job


def serve(app: FastAPI, port: int, open_browser: bool, tell: Callable[[str], None]) -> bool:
    """Tell the page's address and answer until Ctrl-C, at which it ends, whatever is under way.

    A UserError when the port cannot be had.

    Args:
        app: the page.
        port: 0 for any that is free.
        open_browser: show the page in the person's browser.
        tell: is given the address as soon as the page can be asked for.

    Returns:
        Whether all work has ended. What cannot be interrupted goes on in its thread.
    """
    try:
        listening = socket.create_server((_LOOPBACK, port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UserError(f"port {port} cannot be had ({why}); choose another, or 0 for any") from error
    server = Server(app)
    app.state.has_ended = True
    # Ctrl-C is how it is meant to end, before it has quite begun, too.
    with listening, suppress(KeyboardInterrupt), server.capture_signals():
        address = f"http://{_LOOPBACK}:{listening.getsockname()[1]}/"
        tell(address)
        if open_browser:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.run(sockets=[listening])
    _LOG.info("ended")
    return bool(app.state.has_ended)
