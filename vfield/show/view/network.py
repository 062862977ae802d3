"""What stands between the network and the page: requests that are let through, and connections that are bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import h11
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vfield.core.interrupts import handled

MOST_BODY = 1 << 16  # bytes; an order of a clip has some two hundred
MOST_CONNECTIONS = 64  # a browser has six
PATIENCE_SECONDS = 10.0  # for a whole request, and for some of an answer to be taken
_GRACE_SECONDS = 0.4  # for answers under way, once the server is to end

_HEADERS = {
    "Cache-Control": "no-store",
    # Nothing from elsewhere, and nothing of this for pages from elsewhere.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def refusal(status: int, message: str, **headers: str) -> JSONResponse:
    """An answer that says in one line why there is no other."""
    return JSONResponse({"error": " ".join(message.split())}, status_code=status, headers=headers)


class Guard:
    """Turns away what another site's page sends and bodies that are too long, and lets nobody else use an answer.

    The application behind it gets the whole of a body at once, and hears that the asker has gone as it would without.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        if _is_foreign(headers):
            await refusal(403, "this page answers to itself alone")(scope, receive, guarded)
            return
        body = await _body(headers, receive)
        if body is None:
            await refusal(413, f"a request has at most {MOST_BODY} bytes")(scope, receive, guarded)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, received, guarded)


def _is_foreign(headers: Headers) -> bool:
    """Whether another site's page sends this: a script or a form, or a picture or a link, which name no origin."""
    origin = headers.get("origin")
    try:
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True
    # Browsers say so themselves: "none" is a person who typed the address.
    return foreign or headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


async def _body(headers: Headers, receive: Receive) -> bytes | None:
    """The body of a request; None where it is too long, by what the request says or by what comes.

    Of a request that breaks off, what came.
    """
    told = headers.get("content-length", "0")
    if not told.isdecimal() or len(told) > len(str(MOST_BODY)) or int(told) > MOST_BODY:
        return None
    body, more = b"", True
    while more:
        message: Any = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BODY:
            return None
    return body


class Connection(H11Protocol):
    """A connection, cut when a request is not whole in time, or an answer not taken; beyond many, turned away.

    Uvicorn bounds the answers under way and the time between two requests. It waits without end for the rest of a
    request that has begun, and for somebody who does not take an answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self._due: dict[str, asyncio.TimerHandle] = {}
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_FULL)
            transport.close()
        else:
            self._wait_for("request")

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting_for("request")
        elif "request" not in self._due:
            # From the first byte on: whoever sends one now and then does not begin anew.
            self._wait_for("request")

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._wait_for("taker")

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._stop_waiting_for("taker")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting_for("request")
        self._stop_waiting_for("taker")
        super().connection_lost(exc)

    def _wait_for(self, what: str) -> None:
        """Cut the connection unless it comes in time."""
        self._due[what] = self.loop.call_later(PATIENCE_SECONDS, self.transport.abort)

    def _stop_waiting_for(self, what: str) -> None:
        if what in self._due:
            self._due.pop(what).cancel()


class Server(uvicorn.Server):
    """Answers for the page. Ends at the first signal to end, without what is under way; further ones change nothing."""

    def __init__(self, app: FastAPI) -> None:
        """Serve nothing yet."""
        super().__init__(
            uvicorn.Config(
                app, http=Connection, ws="none", timeout_graceful_shutdown=1, log_config=None, access_log=False
            )
        )
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End. A second signal must not, as it does in uvicorn, leave out what is to be tidied up."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While this lasts, Ctrl-C, termination and a terminal that is closed end the server, and no more than that."""
        with handled(self.handle_exit):
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: work under way is told to, which then answers that it was given up."""
        self._app.state.worker.end_work()
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._cut)
        await super().shutdown(sockets)

    def _cut(self) -> None:
        """Cut the connections that are left: of somebody who does not take an answer, or takes long."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
