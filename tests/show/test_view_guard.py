"""What stands before the page: other sites, long bodies, and requests that make no sense at all."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from scenes import translating
from test_view import SIZE, asked, client_of, ended, order_of, saved_of

from vfield.show.view.network import MOST_BODY, Guard


@pytest.fixture(scope="module")
def page() -> Iterator[TestClient]:
    with client_of(saved_of(translating(SIZE, 3))) as client:
        yield client


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403), ("new", 403)]
)
@pytest.mark.parametrize("address", ["/", "/view"])
def test_pictures_and_links_of_other_sites_are_refused(page: TestClient, address: str, site: str, status: int) -> None:
    response = page.get(address, params=asked(0.0), headers={"Sec-Fetch-Site": site})
    assert response.status_code == status
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("origin", ["http://[", "http://127.0.0.1@evil.example", "127.0.0.1"])
def test_origins_that_make_no_sense_are_refused(page: TestClient, origin: str) -> None:
    assert page.get("/", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("length", ["10", None, str(MOST_BODY + 1), "9" * 5000, "many", "-1"])
def test_long_bodies_are_not_read(length: str | None) -> None:
    """Whatever the request says of its length."""
    taken = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": bytes(1 << 12), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(*_: Any) -> None:
        pytest.fail("it was let through")

    headers = [] if length is None else [(b"content-length", length.encode())]
    scope = {"type": "http", "method": "POST", "path": "/clips", "headers": headers}
    asyncio.run(Guard(app)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert list(json.loads(sent[1]["body"])) == ["error"]
    assert taken <= MOST_BODY // (1 << 12) + 1


# ------------------------------------------------------------------------------------------------ fuzzing

REQUESTS = 400
NUMBERS = [
    *[0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e-308, 1e308, -1e308, 1e19, 2**31, 2**53, 2**64, 1.0000000001],
    *[float("nan"), float("inf"), float("-inf"), 10**400, -(10**4000), 8192, 8193, 100_000],
]
ODDITIES: list[Any] = [
    None,
    True,
    "",
    "0",
    "1e5",
    " 1",
    "1_0",
    "\ud800",
    "\0",
    "ü",
    "x" * 5000,
    [],
    [1],
    {},
    {"a": {"b": []}},
]


def values(rng: random.Random, usual: dict[str, Any]) -> dict[str, Any]:
    """A request of which some values are others, or missing."""
    made = dict(usual)
    for name in rng.choices([*usual, "extra", "\0"], k=rng.choice([0, 1, 1, 1, 2, 3])):
        made[name] = rng.choice(NUMBERS if rng.random() < 0.8 else ODDITIES)
        if rng.random() < 0.05:
            del made[name]
    return made


def body(rng: random.Random, order: dict[str, Any]) -> bytes:
    """An order of a clip, or what is no JSON, or more of it than anybody could mean."""
    kind = rng.random()
    if kind < 0.8:
        return json.dumps(order).encode()
    if kind < 0.85:
        return b"[" * 30_000
    if kind < 0.9:
        return b'{"u0":' * 10_000
    if kind < 0.95:
        return b'{"width": ' + b"9" * 5000 + b"}"
    return rng.randbytes(200)


def ask(page: TestClient, rng: random.Random) -> Any:
    whole = order_of(slowmo=2.0, fps=25.0)
    view = asked(0.0, size=(4, 5), layer="field", scaling="lanczos", format="png", asker="hand", number=1)
    kind = rng.random()
    if kind < 0.6:
        query = values(rng, view | {"layer": rng.choice(["field", "source", "motion"])})
        words = {name: str(one).encode("utf-8", "replace").decode() for name, one in query.items()}
        return page.get("/view", params=words)
    if kind < 0.9:
        headers = {"Content-Type": rng.choice(["application/json", "application/json", "text/plain"])}
        return page.post("/clips", content=body(rng, values(rng, whole)), headers=headers)
    number = rng.choice(["0", "%00", "ü", "..", "%ff", "x" * 3000])
    address = rng.choice([f"/clips/{number}", f"/clips/{number}/video", "/wheel", "/facts", f"/{number}"])
    return page.request(rng.choice(["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"]), address)


@pytest.mark.slow
def test_whatever_is_asked_the_answer_is_one_line(page: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(17)
    statuses: dict[int, int] = {}
    with caplog.at_level(logging.WARNING):
        for number in range(REQUESTS):
            response = ask(page, rng)  # an exception of the server is raised here, too
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            assert response.status_code < 500, (number, response.text)
            if response.status_code >= 400 and response.request.method != "HEAD":
                assert list(response.json()) == ["error"], number
                assert len(response.json()["error"]) < 2000
                assert "\n" not in response.json()["error"]
            elif response.request.method == "POST":
                begun = response.json()["number"]
                if rng.random() < 0.5:
                    page.delete(f"/clips/{begun}")
                assert "unexpected" not in ended(page, begun)["error"], number
    assert not caplog.records
    assert min(statuses.get(200, 0), statuses.get(400, 0), statuses.get(422, 0)) > 10, statuses
