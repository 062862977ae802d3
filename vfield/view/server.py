"""The page's server. It listens to this machine alone, and reads no file that a request names."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import torch
import uvicorn
from einops import rearrange
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import flow_to_image

from vfield.checkpoint import SavedField
from vfield.coords import pixel_uv
from vfield.errors import UserError
from vfield.export_config import ExportConfig
from vfield.view.clips import Clips, Job, framing
from vfield.view.source import Scaling, SourceFrames, kept_frames
from vfield.view.viewer import OutdatedError, Viewer
from vfield.view.views import LARGEST_SIDE, Layer, View
from vfield.view.worker import Newest, Worker

_LOG = logging.getLogger("vfield")
_LOOPBACK = "127.0.0.1"
_HOSTS = [_LOOPBACK, "localhost"]
_PAGE = {"/": "view.html", "/view.css": "view.css", "/view.js": "view.js", "/stage.js": "stage.js"}
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-store",
    # Nothing from elsewhere, and nothing of this for pages from elsewhere.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_WHEEL_SIDE = 96  # pixels

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
    number: int = Field(default=0, ge=0)


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
        with tempfile.TemporaryDirectory(prefix="vfield-view-") as folder:
            app.state.worker = worker
            app.state.clips = Clips(saved, worker, Path(folder), device)
            yield
            worker.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_guard)
    # The outermost: a name that somebody else resolves to this machine must reach nothing.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(UserError, lambda _, error: _refusal(400, str(error)))
    app.add_exception_handler(OutdatedError, lambda _, error: _refusal(409, "outdated: a newer view was asked for"))
    for address, file in _PAGE.items():
        app.add_api_route(address, _page(file))
    facts = _facts(saved, name, kept)
    app.add_api_route("/facts", lambda: facts)
    app.add_api_route("/wheel", _wheel)
    _add_views(app, viewer)
    _add_clips(app, saved, name)
    return app


def _add_views(app: FastAPI, viewer: Viewer) -> None:
    newest = Newest()

    @app.get("/view")
    async def view(asked: Annotated[ViewQuery, Query()]) -> Response:
        region = (asked.u0, asked.v0, asked.u1, asked.v1)
        wanted = View(asked.t, region, (asked.height, asked.width), asked.layer, asked.scaling)
        if wanted.layer == "motion" and asked.format == "jpeg":
            raise UserError("motion is partly transparent, which jpeg cannot be; ask for png")
        worker: Worker = app.state.worker
        if asked.asker:
            newest.note(asked.asker, asked.number)

        def outdated() -> bool:
            return worker.is_closing or (asked.asker != "" and newest.is_outdated(asked.asker, asked.number))

        picture = await asyncio.wrap_future(worker.submit(lambda: viewer.picture(wanted, outdated)))
        coded = await asyncio.to_thread(_coded, picture, asked.format)
        return Response(coded, media_type=f"image/{asked.format}")


def _add_clips(app: FastAPI, saved: SavedField, name: str) -> None:
    @app.post("/clips")
    async def begin(order: ClipOrder) -> dict[str, Any]:
        framed = framing((order.u0, order.v0, order.u1, order.v1), order.width, saved.facts)
        config = ExportConfig(
            size=framed.size,
            crop=framed.crop,
            start=order.start,
            end=order.end,
            slowmo=Fraction(str(order.slowmo)),
            fps=None if order.fps is None else Fraction(str(order.fps)),
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
        job = app.state.clips.find(number)
        if job.state != "done":
            raise UserError(f"the clip is not there to download: {job.state}")
        return FileResponse(job.path, media_type="video/mp4", filename=job.name)


def _told(job: Job) -> dict[str, Any]:
    return {
        "number": job.number,
        "state": job.state,
        "written": job.written,
        "frames": job.frames,
        "error": " ".join(job.error.split()),
    }


def _facts(saved: SavedField, name: str, kept: SourceFrames | None) -> dict[str, Any]:
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
        "source_frames": times if kept is None else kept.t.tolist(),
        "duration": float(facts.end_seconds - origin),
        "cuts": [t[shot.start] for shot in field.timeline.shots[1:]],
        "motion": field.motion is not None and len(times) > 1,
    }


def _coded(picture: Tensor, format: Literal["png", "jpeg"]) -> bytes:
    """A picture (3 or 4, h, w) uint8 as a file."""
    buffer = io.BytesIO()
    # Speed counts and size does not, on the way from a machine to itself.
    options = {"compress_level": 1} if format == "png" else {"quality": 92, "subsampling": 0}
    to_pil_image(picture).save(buffer, format=format, **options)
    return buffer.getvalue()


async def _wheel() -> Response:
    """The colours of all directions of motion, by the place on a disc that each points to."""
    uv = 2 * pixel_uv(_WHEEL_SIDE, _WHEEL_SIDE) - 1
    length = uv.norm(dim=-1, keepdim=True)
    colours = flow_to_image(rearrange(uv / length, "h w c -> c h w"))
    opacity = (255 * length[..., 0] * (length[..., 0] <= 1)).round().to(torch.uint8)
    return Response(_coded(torch.cat([colours, opacity[None]]), "png"), media_type="image/png")


def _page(name: str) -> Callable[[], Awaitable[Response]]:
    async def part() -> Response:
        text = (files("vfield.view") / "page" / name).read_text(encoding="utf-8")
        return Response(text, media_type=_KINDS[Path(name).suffix])

    return part


# ------------------------------------------------------------------------------------------- what is refused


async def _guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Turn away what another site's page sends, and let none make use of an answer."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return _refusal(403, "this page answers to itself alone")
    response = await answer(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": " ".join(message.split())}, status_code=status)


def _bad_request(_: Request, error: Exception) -> JSONResponse:
    """All that is wrong with a request's values, in one line."""
    assert isinstance(error, RequestValidationError)
    found = [f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors()]
    return _refusal(422, "; ".join(found))


# ------------------------------------------------------------------------------------------- the server


def serve(app: FastAPI, port: int, open_browser: bool, tell: Callable[[str], None]) -> None:
    """Tell the page's address and answer until Ctrl-C.

    Args:
        app: the page.
        port: 0 for any that is free.
        open_browser: show the page in the person's browser.
        tell: is given the address as soon as the page can be asked for.

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
        raise UserError(f"port {port} cannot be had ({error.strerror}); choose another, or 0 for any") from error
    with listening:
        listening.listen()
        address = f"http://{_LOOPBACK}:{listening.getsockname()[1]}/"
        tell(address)
        if open_browser:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        # Ctrl-C is how it is meant to end: uvicorn ends in order and passes the signal on, where it is not ignored.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
        _LOG.info("ended")
