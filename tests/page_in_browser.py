"""The page in a real browser: a hand on the slider, the wheel and the buttons, and what comes of it.

Run by `test_view_page.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from scenes import clip_of, field_of, translating
from torchvision.transforms.functional import pil_to_tensor

from vfield.core.clip import to_uint8
from vfield.field.checkpoint import FIELD_NAME, load_field, save_field
from vfield.field.config import FieldConfig
from vfield.field.decoder import DecoderConfig
from vfield.field.latents import LocalConfig
from vfield.field.render import WHOLE, render
from vfield.video_io import read_clip

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TIMES = "\N{MULTIPLICATION SIGN}"
SIZE = (36, 64)
SMALL = FieldConfig(local=LocalConfig(levels=(16,), channels=2), decoder=DecoderConfig(width=8, depth=1))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VIEW = "import sys; from vfield.cli import main; sys.exit(main(['view', sys.argv[1], '--no-browser', '--port', '0']))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # Not everyone who imports the names here has it.

    found = [path for name in BROWSERS if (path := shutil.which(name))]
    with sync_playwright() as tool:
        # As root, and in containers, Chromium has no sandbox to run in.
        started = tool.chromium.launch(executable_path=found[0], args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "scene"
    folder.mkdir()
    clip = clip_of(to_uint8(translating(SIZE, 6)))
    save_field(folder / FIELD_NAME, field_of(clip, SMALL), clip.facts)
    return folder


@pytest.fixture
def address(browser: Browser, run: Path) -> Iterator[str]:
    """The page of `vfield view`, which must end in order by Ctrl-C."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", VIEW, str(run)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    told = server.stdout.readline()
    try:
        found = re.match(r"http://127\.0\.0\.1:\d+/", told)
        assert found, told or server.communicate(timeout=5)[1]
        yield found[0]
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=20)
    assert (server.returncode, errors) == (130, "ended\n")


def settled(page: Page) -> None:
    """Wait until all that is in view is there in full."""
    page.wait_for_selector("body:not(.busy)")


def test_a_hand_on_the_page(browser: Browser, address: str, run: Path, tmp_path: Path) -> None:
    saved = load_field(run)
    page = browser.new_page(viewport={"width": 800, "height": 600})
    page.set_default_timeout(60_000)  # of a machine with much else to do
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#time:not(:empty)")
    settled(page)
    canvas = page.locator("#canvas")
    assert page.inner_text("#about") == f"64{TIMES}36, 6 frames, 0.24 s"

    # The slider, dragged: any instant.
    first = canvas.screenshot()
    box = page.locator("#slider").bounding_box()
    assert box
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    page.mouse.down()
    for part in range(1, 9):
        page.mouse.move(box["x"] + part / 16 * box["width"], box["y"] + 20)
    page.mouse.up()
    settled(page)
    t = float(page.inner_text("#time").removesuffix(" s"))
    assert abs(t - 0.12) < 0.002
    middle = canvas.screenshot()
    assert middle != first

    # Saved: what render gives, pixel by pixel, though it came through the browser's canvas.
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    t = 0.16 - 0.004
    assert page.inner_text("#time") == f"{t:.3f} s"
    page.keyboard.press("s")
    page.fill("#width", "96")
    picture = save(page, "#save-picture", tmp_path)
    assert picture.name == f"scene-{t:.3f}s.png"
    truth = to_uint8(next(render(saved.field, (54, 96), [t], region=WHOLE)))
    shown = pil_to_tensor(Image.open(picture).convert("RGB"))
    assert int((shown.int() - truth.int()).abs().max()) <= 1

    # And a clip of it.
    page.fill("#from", "0.04")
    page.fill("#to", "0.12")
    page.fill("#slowmo", "2")
    clip = read_clip(save(page, "#save-clip", tmp_path))
    assert (len(clip), clip.height, clip.width, clip.frame_rate) == (4, 54, 96, Fraction(25))
    page.fill("#to", "0.01")
    page.click("#save-clip")
    page.wait_for_selector("#save-status.bad")
    assert "end must come after start" in page.inner_text("#save-status")
    assert any("400" in trouble for trouble in troubles)  # the browser's own line about it
    troubles.clear()
    page.keyboard.press("Escape")
    page.click("#save-toggle")

    # The wheel, the wipe and motion; at a frame's own instant, which costs least.
    page.keyboard.press("ArrowLeft")
    looks_different(page)
    assert not troubles


def save(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as found:
        page.click(button)
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def looks_different(page: Page) -> None:
    """Each of these shows something that was not there before, and undone, what was."""
    from playwright.sync_api import expect

    canvas = page.locator("#canvas")
    settled(page)
    before = canvas.screenshot()
    page.keyboard.press("m")
    settled(page)
    assert canvas.screenshot() != before
    assert page.is_visible("#wheel")
    page.click("#motion")
    settled(page)
    assert canvas.screenshot() == before
    page.mouse.move(300, 250)
    for _ in range(4):
        page.mouse.wheel(0, -300)
    settled(page)
    zoomed = canvas.screenshot()
    assert zoomed != before
    assert re.fullmatch(rf"[678]\d{TIMES}", page.inner_text("#zoom"))
    page.keyboard.press("w")
    settled(page)
    assert canvas.screenshot() != zoomed
    assert page.inner_text("#label-left") == "source frame at 0.120 s"
    page.drag_and_drop("#wipe i", "#canvas", target_position={"x": 5, "y": 200})
    assert page.locator("#wipe").evaluate("wipe => parseFloat(wipe.style.left)") < 2
    page.keyboard.press("w")
    page.keyboard.press("0")
    settled(page)
    assert canvas.screenshot() == before
    page.keyboard.press(" ")
    page.wait_for_selector("#play[aria-label=Pause]")
    expect(page.locator("#time")).not_to_have_text("0.120 s")
    page.keyboard.press(" ")
    settled(page)
