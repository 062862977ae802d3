"""Connections that are bounded in number and in time, and a server that ends at once.

Uvicorn bounds the answers under way and the time between two requests. It waits without end for the rest of a request
that has begun, and for somebody who does not take an answer.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 64  # a browser has six
PATIENCE_SECONDS = 10.0  # for a whole request, and for some of an answer to be taken
_GRACE_SECONDS = 0.4  # for answers under way, once the server is to end

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(H11Protocol):
    """A connection, cut when a request is not whole in time, or an answer not taken; beyond many, turned away."""

    _request_due: asyncio.TimerHandle | None = None
    _answer_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_FULL)
            transport.close()
            return
        self._request_due = self._cut_later()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting_for_request()
        elif self._request_due is None:
            # From the first byte on: whoever sends one now and then does not begin anew.
            self._request_due = self._cut_later()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._answer_due = self._cut_later()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._stop_waiting_for_taker()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting_for_request()
        self._stop_waiting_for_taker()
        super().connection_lost(exc)

    def _cut_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(PATIENCE_SECONDS, self.transport.abort)

    def _stop_waiting_for_request(self) -> None:
        if self._request_due is not None:
            self._request_due.cancel()
            self._request_due = None

    def _stop_waiting_for_taker(self) -> None:
        if self._answer_due is not None:
            self._answer_due.cancel()
            self._answer_due = None


class Server(uvicorn.Server):
    """Ends at the first signal to end, without what is under way; further ones change nothing."""

    def __init__(self, config: uvicorn.Config, end_work: Callable[[], None]) -> None:
        """Serve nothing yet; `end_work` tells work under way to end, which then answers that it was given up."""
        super().__init__(config)
        self._end_work = end_work

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End. A second signal must not, as it does in uvicorn, leave out what is to be tidied up."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While this lasts, Ctrl-C, termination and a terminal that is closed end the server, and no more than that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A hang-up that is ignored is meant to be: nohup.
        caught = [number for number in _ENDING if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
        earlier = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: see `uvicorn.Server`."""
        self._end_work()
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._cut)
        await super().shutdown(sockets)

    def _cut(self) -> None:
        """Cut the connections that are left: of somebody who does not take an answer, or takes long."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
