"""The page's server: views that are the field's own pixels, what is refused, one thing at a time, and clips."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from scenes import clip_of, field_of, translating, with_cut
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from vfield.cli import main
from vfield.core.clip import ColorInfo, to_float, to_uint8
from vfield.core.drawing import magnify, motion_colours
from vfield.core.errors import UserError
from vfield.field.checkpoint import FIELD_NAME, SavedField, save_field
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.latents import LocalConfig
from vfield.field.motion import MotionConfig
from vfield.field.render import Region, render
from vfield.learn.sources import RUN_NAME
from vfield.output.config import ExportConfig
from vfield.show.view.clips import check_length, framing
from vfield.show.view.server import NewestRequests, make_app
from vfield.show.view.source import Scaling, clip_frames, frames_of_field, resampled
from vfield.show.view.viewer import View, Viewer
from vfield.show.view.worker import GivenUpError, Worker
from vfield.video_io import VideoWriter, read_clip, resize

SIZE = (36, 64)
FRAMES = 5
STEP = (2.0, -1.0)
SMALL = FieldConfig(local=LocalConfig(levels=(16,), channels=2), decoder=DecoderConfig(width=8, depth=1))
COLOURLESS = replace(SMALL, local=LocalConfig(colours=False, levels=(16,), channels=2))
STILL = replace(SMALL, motion=MotionConfig(enabled=False))
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
BETWEEN = 0.05  # seconds: a quarter of the way between two frames


def saved_of(frames: Tensor, config: FieldConfig = SMALL) -> SavedField:
    clip = clip_of(to_uint8(frames))
    return SavedField(field_of(clip, config).eval(), clip.facts)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return to_uint8(translating(SIZE, FRAMES, STEP))


@pytest.fixture(scope="module")
def saved(frames: Tensor) -> SavedField:
    return saved_of(frames)


def client_of(saved: SavedField) -> TestClient:
    def none() -> Any:
        raise UserError("no source to show")

    return TestClient(make_app(saved, "scene", none), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def page(saved: SavedField) -> Iterator[TestClient]:
    with client_of(saved) as client:
        yield client


def asked(t: float, region: Region = WHOLE, size: tuple[int, int] = SIZE, **more: Any) -> dict[str, Any]:
    u0, v0, u1, v1 = region
    return {"t": t, "u0": u0, "v0": v0, "u1": u1, "v1": v1, "height": size[0], "width": size[1], **more}


def picture(page: TestClient, query: dict[str, Any]) -> Tensor:
    response = page.get("/view", params=query)
    assert response.status_code == 200, response.text
    return pil_to_tensor(Image.open(io.BytesIO(response.content)))


def rendered(saved: SavedField, t: float, region: Region, size: tuple[int, int]) -> Tensor:
    return to_uint8(next(render(saved.field, size, [t], region=region)))


def looked(frame: Tensor, region: Region, size: tuple[int, int], scaling: Scaling) -> Tensor:
    return torch.cat(list(resampled(frame, region, size, scaling)), dim=1)


def worst(one: Tensor, other: Tensor) -> int:
    assert one.shape == other.shape
    return int((one.int() - other.int()).abs().max())


# ------------------------------------------------------------------------------------------------ views


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["field", "source"])
def test_an_observed_instant_is_its_frame(page: TestClient, frames: Tensor, layer: str) -> None:
    times = page.get("/facts").json()["frames"]
    for t, frame in zip(times, frames, strict=True):
        assert worst(picture(page, asked(t, layer=layer)), frame) <= 1
        as_jpeg = picture(page, asked(t, layer=layer, format="jpeg"))
        assert float((as_jpeg.float() - frame.float()).square().mean().sqrt()) < 3


def test_instants_outside_the_clip_show_its_ends(page: TestClient, frames: Tensor) -> None:
    assert worst(picture(page, asked(-1e300)), frames[0]) <= 1
    assert worst(picture(page, asked(1e300)), frames[-1]) <= 1


@pytest.mark.parametrize("region", [WHOLE, (0.31, 0.2, 0.4, 0.27), (0.7, 0.0, 0.70001, 1.0)])
def test_a_zoomed_view_is_what_render_gives(page: TestClient, saved: SavedField, region: Region) -> None:
    made = picture(page, asked(BETWEEN, region, (20, 30)))
    assert torch.equal(made, rendered(saved, BETWEEN, region, (20, 30)))


def test_beyond_the_picture_is_black_and_the_rest_as_it_was(page: TestClient, saved: SavedField) -> None:
    made = picture(page, asked(BETWEEN, (-0.5, -1.0, 1.5, 3.0), (80, 60)))
    inside = made[:, 20:40, 15:45].clone()
    assert worst(inside, rendered(saved, BETWEEN, WHOLE, (20, 30))) <= 1
    made[:, 20:40, 15:45] = 0
    assert not made.any()
    assert not picture(page, asked(BETWEEN, (2.0, 0.0, 3.0, 1.0))).any()


@pytest.mark.parametrize("scaling", ["lanczos", "nearest"])
@pytest.mark.parametrize("layer", ["field", "source"])
def test_there_is_no_end_to_zooming(page: TestClient, saved: SavedField, layer: str, scaling: str) -> None:
    around = (0.43, 0.57, 0.43 + 1e-3, 0.57 + 1e-3)
    made = picture(page, asked(BETWEEN, around, (2, 2), layer=layer, scaling=scaling))[:, 0, 0]
    for side in (1e-6, 1e-12):
        deep = picture(page, asked(BETWEEN, (0.43, 0.57, 0.43 + side, 0.57 + side), layer=layer, scaling=scaling))
        assert worst(deep, made[:, None, None].expand(3, *SIZE)) <= 2


# ------------------------------------------------------------------------------------------------ the source


def test_lanczos_is_that_of_swscale(frames: Tensor) -> None:
    for size in [(72, 128), (90, 160), (18, 32)]:
        made = to_uint8(looked(frames[0], WHOLE, size, "lanczos"))
        assert worst(made, resize(frames[:1], *size, "lanczos")[0]) <= 3


def test_a_pixel_wider_than_the_picture_reads_no_more_than_it(frames: Tensor) -> None:
    wide = looked(frames[0], (-1e6, -1e6, 1e6, 1e6), (1, 1), "lanczos")
    assert wide.isfinite().all()
    assert (wide[:, 0, 0] - to_float(frames[0]).mean(dim=(1, 2))).abs().max() < 0.3


def test_a_view_is_bounded_in_pixels(page: TestClient) -> None:
    refused = page.get("/view", params=asked(0.0, size=(8192, 8192)))
    assert (refused.status_code, "at most 33554432" in refused.json()["error"]) == (400, True)


def test_a_window_is_cut_out_of_the_enlarged_frame(frames: Tensor) -> None:
    enlarged = looked(frames[0], WHOLE, (360, 640), "lanczos")
    part = looked(frames[0], (33 / 640, 21 / 360, 133 / 640, 81 / 360), (60, 100), "lanczos")
    assert torch.allclose(part, enlarged[:, 21:81, 33:133], atol=1e-5)


def test_pixels_are_squares_until_they_are_smaller(frames: Tensor) -> None:
    squares = looked(frames[0], WHOLE, (4 * SIZE[0], 4 * SIZE[1]), "nearest")
    assert torch.equal(to_uint8(squares), magnify(frames[0], 4))
    small = (SIZE[0] // 3, SIZE[1] // 2)
    assert torch.equal(looked(frames[0], WHOLE, small, "nearest"), looked(frames[0], WHOLE, small, "lanczos"))


def test_the_source_is_held_until_its_next_frame(saved: SavedField, frames: Tensor) -> None:
    kept = frames_of_field(saved.field)
    assert kept is not None
    for t, index in [(-1.0, 0), (0.0399, 0), (0.04, 1), (0.0799, 1), (0.28, 4)]:
        assert torch.equal(kept.at(t), frames[index])


def test_a_field_without_colours_shows_its_clip(frames: Tensor, tmp_path: Path) -> None:
    saved = saved_of(to_float(frames), COLOURLESS)
    assert frames_of_field(saved.field) is None
    with pytest.raises(UserError, match=f"no {RUN_NAME}"):
        clip_frames(tmp_path, saved.facts)
    clip = tmp_path / "clip.mkv"
    (tmp_path / RUN_NAME).write_text(json.dumps({"video": str(clip)}))
    with pytest.raises(UserError, match=r"cannot be read: .*clip\.mkv"):
        clip_frames(tmp_path, saved.facts)
    with VideoWriter(
        clip,
        height=SIZE[0],
        width=SIZE[1],
        frame_rate=Fraction(25),
        color=ColorInfo(),
        codec="ffv1",
        pixel_format="yuv444p",
    ) as writer:
        for frame in frames:
            writer.write(frame)
    source = clip_frames(tmp_path, saved.facts)
    assert worst(source.at(0.09), frames[2]) <= 2
    viewer = Viewer(saved, lambda: source)
    assert worst(viewer.picture(View(**asked(0.09, layer="source"))), frames[2]) <= 2
    with client_of(saved) as page:
        refused = page.get("/view", params=asked(0.0, layer="source"))
    assert (refused.status_code, refused.json()) == (400, {"error": "no source to show"})


# ------------------------------------------------------------------------------------------------ motion


def test_motion_is_its_direction_by_hue_and_its_length_by_opacity(page: TestClient) -> None:
    made = picture(page, asked(BETWEEN, layer="motion"))[:, 12:-12, 12:-12]
    truth = torch.tensor(STEP)[:, None, None].expand(2, *made.shape[1:])
    assert worst(made[:3], motion_colours(truth, float(truth[:, 0, 0].norm()))) <= 12
    assert int(made[3].min()) > 200
    # Where two frames are, the next is one step on; after the last nothing moves.
    assert not picture(page, asked(FRAMES / 25, layer="motion"))[3].any()


@pytest.mark.slow
def test_motion_across_a_cut_is_not_known(page: TestClient) -> None:
    saved = saved_of(with_cut(SIZE, 3, 3))
    viewer = Viewer(saved, lambda: pytest.fail("not asked for"))
    assert len(saved.field.timeline.shots) == 2
    assert not viewer.picture(View(**asked(0.09, layer="motion")))[3].any()
    assert viewer.picture(View(**asked(0.02, layer="motion")))[3].any()


def test_a_field_without_motion_says_so(frames: Tensor) -> None:
    with client_of(saved_of(to_float(frames), STILL)) as page:
        assert page.get("/facts").json()["motion"] is False
        refused = page.get("/view", params=asked(0.0, layer="motion"))
    assert refused.status_code == 400
    assert "no motion" in refused.json()["error"]


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("wrong", "status", "word"),
    [
        ({"t": "nan"}, 422, "t: "),
        ({"t": "soon"}, 422, "t: "),
        ({"u1": "inf"}, 422, "u1: "),
        ({"width": 0}, 422, "width: "),
        ({"height": 100_000}, 422, "height: "),
        ({"layer": "../../etc/passwd"}, 422, "layer: "),
        ({"scaling": "cubic"}, 422, "scaling: "),
        ({"format": "gif"}, 422, "format: "),
        ({"asker": "a" * 65}, 422, "asker: "),
        ({"u0": 1.0}, 400, "u0 < u1"),
        ({"v0": 0.7, "v1": 0.6}, 400, "v0 < v1"),
        ({"u0": -1e308, "u1": 1e308}, 400, "finite"),
        ({"layer": "motion", "format": "jpeg"}, 400, "png"),
    ],
)
def test_bad_views_are_refused_in_one_line(page: TestClient, wrong: dict[str, Any], status: int, word: str) -> None:
    response = page.get("/view", params=asked(0.0) | wrong)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert word in response.json()["error"]
    assert "\n" not in response.json()["error"]


@pytest.mark.parametrize("address", ["/", "/facts", "/view.js", "/view?t=0"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:80", ""])
def test_foreign_hosts_are_refused(page: TestClient, address: str, host: str) -> None:
    response = page.get(address, headers={"Host": host})
    assert response.status_code == 400
    assert "vfield" not in response.text


def test_pages_from_elsewhere_are_refused(page: TestClient) -> None:
    order = {"u0": 0, "v0": 0, "u1": 1, "v1": 1, "width": 64, "start": 0, "end": 0.1}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert page.post("/clips", json=order, headers={"Origin": origin}).status_code == 403
    assert page.get("/facts", headers={"Origin": "http://127.0.0.1"}).status_code == 200
    headers = page.get("/").headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_no_file_can_be_named(page: TestClient) -> None:
    for address in ("/server.py", "/page/view.html", "/../server.py", "/%2e%2e/server.py", "/docs", "/openapi.json"):
        assert page.get(address).status_code == 404


def test_the_page_needs_no_network(page: TestClient) -> None:
    for address in ("/", "/view.css", "/view.js", "/stage.js"):
        response = page.get(address)
        assert response.status_code == 200
        assert "//" not in response.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


# ------------------------------------------------------------------------------------------------ one at a time


@contextmanager
def ending(end: Callable[[], object]) -> Iterator[None]:
    """Ends something that others wait for, also where a test fails."""
    try:
        yield
    finally:
        end()


def test_two_views_at_once_are_both_right(page: TestClient, saved: SavedField) -> None:
    regions: list[Region] = [(0.1 * k, 0.1, 0.1 * k + 0.2, 0.4) for k in range(6)]
    times = [0.01 * k for k in range(6)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda t, region: picture(page, asked(t, region)), times, regions))
    for t, region, one in zip(times, regions, made, strict=True):
        assert torch.equal(one, rendered(saved, t, region, SIZE))


@pytest.mark.slow
def test_only_the_newest_view_is_made(page: TestClient, saved: SavedField) -> None:
    worker: Worker = page.app.state.worker  # type: ignore[attr-defined]
    busy = threading.Event()
    worker.submit(busy.wait)

    def ask(number: int, asker: str = "hand") -> int:
        return page.get("/view", params=asked(0.01 * number, asker=asker, number=number)).status_code

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, 1), pool.submit(ask, 1, "other")]
        time.sleep(0.3)
        waiting.append(pool.submit(ask, 2))
        # Given up as soon as the newer one comes, and the others wait for what is under way.
        with ending(busy.set):
            assert waiting[0].result(timeout=20) == 409
            assert not any(future.done() for future in waiting[1:])
        assert [future.result() for future in waiting[1:]] == [200, 200]


def test_a_view_under_way_is_given_up(saved: SavedField) -> None:
    answers = iter([False, True])
    viewer = Viewer(saved, lambda: pytest.fail("not asked for"))
    with pytest.raises(GivenUpError):
        viewer.picture(View(**asked(0.05, size=(300, 500))), lambda: next(answers))
    assert next(answers, None) is None


def test_newest_forgets_the_oldest_askers() -> None:
    newest = NewestRequests()
    newest.note("hand", 5)
    newest.note("hand", 3)
    assert (newest.is_outdated("hand", 4), newest.is_outdated("hand", 5)) == (True, False)
    for k in range(1000):
        newest.note(str(k), 1)
    assert not newest.is_outdated("hand", 4)


def test_what_waits_goes_before_a_long_piece_of_work() -> None:
    worker, begun = Worker(), threading.Event()
    done: list[int | str] = []

    def long() -> None:
        begun.wait()
        worker.let_others_go_first()
        done.append("long")

    waiting = [worker.submit(long), *(worker.submit(partial(done.append, k)) for k in range(3))]
    failing = worker.submit(lambda: 1 / 0)
    begun.set()
    assert [future.result() for future in waiting] == [None] * 4
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert done == [0, 1, 2, "long"]
    assert worker.close()


# ------------------------------------------------------------------------------------------------ clips


def order_of(region: Region = WHOLE, **more: Any) -> dict[str, Any]:
    u0, v0, u1, v1 = region
    return {"u0": u0, "v0": v0, "u1": u1, "v1": v1, "width": 64, "start": 0.0, "end": 0.2, **more}


def ended(page: TestClient, number: str) -> dict[str, Any]:
    for _ in range(200):
        job: dict[str, Any] = page.get(f"/clips/{number}").json()
        if job["state"] != "rendering":
            return job
        time.sleep(0.05)
    pytest.fail("the clip did not end")


def test_a_clip_is_the_view_in_slow_motion(page: TestClient, saved: SavedField, tmp_path: Path) -> None:
    region = (0.25, 0.25, 0.75, 0.75)
    begun = page.post("/clips", json=order_of(region, slowmo=2, start=0.04, end=0.12, fps=50)).json()
    job = ended(page, begun["number"])
    assert (job["state"], job["written"], job["frames"], job["error"]) == ("done", 8, 8, "")
    response = page.get(f"/clips/{begun['number']}/video")
    assert 'filename="scene-0.04-0.12s.mp4"' in response.headers["Content-Disposition"]
    (tmp_path / "clip.mp4").write_bytes(response.content)
    clip = read_clip(tmp_path / "clip.mp4")
    assert (len(clip), clip.height, clip.width, clip.frame_rate) == (8, 36, 64, 50)
    for k, frame in enumerate(clip.pixels):
        truth = rendered(saved, 0.04 + k / 100, region, SIZE)
        assert float((frame.float() - truth.float()).abs().mean()) < 3


def test_views_go_on_while_a_clip_is_made_and_it_can_be_cancelled(page: TestClient, saved: SavedField) -> None:
    begun = page.post("/clips", json=order_of(slowmo=1000)).json()
    assert torch.equal(picture(page, asked(BETWEEN)), rendered(saved, BETWEEN, WHOLE, SIZE))
    assert page.get(f"/clips/{begun['number']}").json()["state"] == "rendering"
    second = page.post("/clips", json=order_of())
    assert second.status_code == 400
    assert "still being made" in second.json()["error"]
    assert page.get(f"/clips/{begun['number']}/video").status_code == 400
    for _ in range(400):  # a view goes before the clip's first frame
        if page.get(f"/clips/{begun['number']}").json()["written"]:
            break
        time.sleep(0.05)
    assert page.delete(f"/clips/{begun['number']}").status_code == 200
    job = ended(page, begun["number"])
    assert job["state"] == "cancelled"
    assert 0 < job["written"] < job["frames"] == 5000


@pytest.mark.parametrize(
    ("wrong", "status", "word"),
    [
        ({"start": 0.2, "end": 0.1}, 400, "after start"),
        ({"start": -1}, 400, "start"),
        ({"slowmo": 0}, 400, "slowmo"),
        ({"fps": 1e9}, 400, "fps"),
        ({"u0": 1.5, "u1": 2.0}, 400, "in view"),
        ({"u0": 0.0, "u1": 1e-9}, 400, "ask for a smaller one"),
        ({"fps": 1e-308}, 400, "fps must be"),
        ({"width": None}, 422, "width"),
        ({"end": "late"}, 422, "end"),
    ],
)
def test_bad_clips_are_refused_at_once(page: TestClient, wrong: dict[str, Any], status: int, word: str) -> None:
    response = page.post("/clips", json=order_of() | wrong)
    assert response.status_code == status
    assert word in response.json()["error"]


def test_a_clip_that_fails_says_why(page: TestClient) -> None:
    begun = page.post("/clips", json=order_of(end=3.0)).json()
    job = ended(page, begun["number"])
    assert (job["state"], "covers 0 to 0.2 s" in job["error"]) == ("failed", True)
    assert page.get("/clips/0/video").status_code == 400


def test_nothing_is_left_when_the_server_ends(saved: SavedField, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with client_of(saved) as page:
        page.post("/clips", json=order_of(slowmo=1000))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_clips_of_absurdly_many_frames_are_refused(saved: SavedField) -> None:
    fast = ExportConfig(slowmo=Fraction(1000), fps=Fraction(1000))
    check_length(fast, saved.facts)  # 200,000 frames
    longer = replace(saved.facts, end_seconds=Fraction(10**6))
    check_length(replace(fast, start=0.5, end=0.6), longer)
    with pytest.raises(UserError, match="at most 262144"):
        check_length(replace(fast, end=0.3), longer)
    with pytest.raises(UserError, match="at most 262144"):
        check_length(fast, longer)


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(16, 11)])
@pytest.mark.parametrize("width", [16, 64, 333])
def test_a_framing_keeps_the_shape_exactly(saved: SavedField, width: int, aspect: Fraction) -> None:
    facts = replace(saved.facts, pixel_aspect=aspect)
    (x, y, crop_width, crop_height), (rows, columns) = framing((-0.2, 0.1, 0.7, 0.61803), width, facts)
    assert rows % 2 == columns % 2 == 0
    assert abs(columns - width) <= 1
    assert Fraction(crop_width) * aspect / Fraction(crop_height) == Fraction(columns, rows)
    assert x >= 0
    assert y >= Fraction(0.1) * SIZE[0]
    assert x + crop_width <= Fraction(0.7) * SIZE[1]
    # Sides are even: rows may be one more or less than the shape asks for, and that share of the part is lost.
    kept = min(
        Fraction(crop_width) / SIZE[1] / Fraction(0.7), Fraction(crop_height) / SIZE[0] / Fraction(0.61803 - 0.1)
    )
    assert 1 - Fraction(1, rows - 1) <= kept <= 1 + Fraction(1, 10**12)


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def run(saved: SavedField, tmp_path: Path) -> Path:
    save_field(tmp_path / FIELD_NAME, saved.field, saved.facts)
    return tmp_path


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["view", "--no-browser", *words]) == 2
    told = capfd.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    return told.err


def test_what_cannot_be_shown(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} cannot be had" in refused([str(run), "--port", str(port)], capfd)
    assert "65535, got 70000" in refused([str(run), "--port", "70000"], capfd)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "not a run folder" in refused([str(empty)], capfd)


def test_without_its_libraries_it_says_what_to_install(
    run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for module in ("server", "network"):
        monkeypatch.delitem(sys.modules, f"vfield.show.view.{module}")
    assert "pip install 'vfield[view]'" in refused([str(run)], capfd)
