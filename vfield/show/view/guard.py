"""What stands between the network and the page: no other site's page, no long body, no use of answers elsewhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 1 << 16  # bytes; an order of a clip has some two hundred

_HEADERS = {
    "Cache-Control": "no-store",
    # Nothing from elsewhere, and nothing of this for pages from elsewhere.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


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
    body = b""
    while True:
        message: Any = await receive()
        if message["type"] != "http.request":
            return body
        body += message.get("body", b"")
        if len(body) > MOST_BODY:
            return None
        if not message.get("more_body", False):
            return body
