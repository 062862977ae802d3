"""Windows of a long clip: how it is divided, and that what is rendered over a seam is what one field would show."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from scenes import clip_of, field_of, perturb, translating, with_cut
from torch import Tensor

from vfield.checkpoint import FIELD_NAME, WINDOWS_NAME, SavedField, load_field, save_field
from vfield.clip import Clip, ClipFacts, ColorInfo, to_uint8
from vfield.errors import UserError
from vfield.export import export
from vfield.export_config import ExportConfig
from vfield.field.video_field import VideoField
from vfield.footage import Look, frames_of
from vfield.render import WHOLE
from vfield.timing import Schedule, schedule
from vfield.windows import WindowedRun, WindowPlan, mark_fitted, open_run, plan_windows, read_plan, write_plan

NTSC = Fraction(30000, 1001)
SIZE = (24, 32)
pytestmark = pytest.mark.usefixtures("one_thread")


def facts_of(count: int, rate: Fraction = NTSC, start: Fraction = Fraction(0)) -> ClipFacts:
    pts = tuple(start + i / rate for i in range(count))
    return ClipFacts(SIZE[0], SIZE[1], pts, start + count / rate, rate, ColorInfo(), Fraction(1), "")


def shots_at(cuts: Sequence[int], count: int) -> list[range]:
    return [range(*edges) for edges in pairwise([0, *cuts, count])]


def check(plan: WindowPlan, cuts: Sequence[int], most: int, around: int) -> None:
    """What holds for every plan: all frames, limits, cuts that are walls, and neighbours wherever there are any."""
    pts, count = plan.facts.pts_seconds, len(plan.facts.pts_seconds)
    assert (plan.windows[0].start, plan.windows[-1].stop) == (0, count)
    assert max(map(len, plan.windows)) <= most
    assert [seam.at for seam in plan.seams] == sorted({seam.at for seam in plan.seams})
    walls = [0, *cuts, count]
    before = 0
    for frame in range(count):
        for at in (pts[frame], pts[frame] + Fraction(1, 3) / NTSC):
            number = plan.window_at(at)
            assert number in (before, before + 1)  # in order, none left out
            before = number
            window = plan.windows[number]
            assert frame in window
            # What lies around the instant is in the window, as far as the shot goes.
            shot = next(range(*edges) for edges in pairwise(walls) if edges[0] <= frame < edges[1])
            assert window.start <= max(frame - around, shot.start)
            assert min(frame + 1 + around, shot.stop) <= window.stop
    for seam, (one, other) in zip(plan.seams, pairwise(plan.windows), strict=True):
        assert seam.is_cut == (one.stop == other.start) == (one.stop in cuts and seam.at not in pts)


def test_plans_of_an_hour_keep_their_promises_and_take_no_time() -> None:
    random = Random(0)
    count = 3600 * 30
    facts = facts_of(count, start=Fraction(7, 3))
    for gap in (40, 400, 4000):
        cuts = sorted(random.sample(range(1, count), count // gap))
        began = time.process_time()
        plan = plan_windows(facts, shots_at(cuts, count), 600)
        assert time.process_time() - began < 2
        assert count / 600 <= len(plan.windows) <= 2.1 * count / 600
    assert len(plan_windows(facts, shots_at([], count), 600).windows) <= count / (600 - 17) + 2


@pytest.mark.parametrize("most", [8, 13, 40, 100])
@pytest.mark.parametrize("cuts", [[], [50], [10, 11, 12, 60, 97, 150], [5, 44, 190, 199]])
def test_every_instant_has_one_window_with_its_neighbours(cuts: list[int], most: int) -> None:
    plan = plan_windows(facts_of(200), shots_at(cuts, 200), most)
    check(plan, cuts, most, around=min(8, max(2, most // 5)) - 1)


def test_windows_end_at_cuts_where_they_can() -> None:
    plan = plan_windows(facts_of(100), shots_at([30, 70], 100), 50)
    assert [seam.is_cut for seam in plan.seams] == [True, True]
    assert plan.windows == (range(30), range(30, 70), range(70, 100))
    middle = (plan.facts.pts_seconds[29] + plan.facts.pts_seconds[30]) / 2
    # As in one field: the earlier side of a cut keeps the very middle.
    assert [plan.window_at(at) for at in (middle, middle + Fraction(1, 10**9))] == [0, 1]
    assert len(plan_windows(facts_of(50), shots_at([30], 50), 50).windows) == 1


def test_too_short_a_window_is_refused() -> None:
    with pytest.raises(UserError, match="8 frames or more, got 7"):
        plan_windows(facts_of(20), [range(20)], 7)


def test_a_plan_is_kept_and_a_damaged_one_refused(tmp_path: Path) -> None:
    plan = plan_windows(facts_of(100, start=Fraction(5, 7)), shots_at([30], 100), 40, origin=Fraction(1, 9))
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    described = json.loads((tmp_path / WINDOWS_NAME).read_text())
    (tmp_path / WINDOWS_NAME).write_text(json.dumps({**described, "version": 9}))
    with pytest.raises(UserError, match="version 9"):
        read_plan(tmp_path)
    (tmp_path / WINDOWS_NAME).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        open_run(tmp_path)


# ------------------------------------------------------------------------------------------------ rendering


def learnt(clip: Clip) -> SavedField:
    """A field whose views and detail have a say, as if they had been learnt: the same in every field."""
    field = field_of(clip)
    assert field.visibility is not None
    assert field.detail is not None
    for part in (field.visibility, field.detail.last):
        perturb(part, std=0.1)
    field.detail.scale.fill_(0.02)
    return SavedField(field.eval(), clip.facts)


def run_of(clip: Clip, cuts: Sequence[int], most: int, out: Path) -> WindowedRun:
    """The run that fitting windows would leave."""
    plan = plan_windows(clip.facts, shots_at(cuts, len(clip)), most)
    write_plan(out, plan)
    for number, window in enumerate(plan.windows):
        folder = plan.folder(out, number)
        folder.mkdir()
        part = clip.select(window)
        save_field(folder / FIELD_NAME, *learnt(part)[:2])
        mark_fitted(folder, {})
    return WindowedRun(out)


def rendered(saved: SavedField | WindowedRun, plan: Schedule, size: tuple[int, int]) -> Tensor:
    look = Look(size, WHOLE, 1 << 16, "cpu")
    return torch.stack(list(frames_of(saved, plan, range(len(plan.source_seconds)), look)))


@pytest.fixture(scope="module")
def film() -> Clip:
    """62 frames in two shots, on a clock that starts late."""
    frames = to_uint8(torch.cat([translating(SIZE, 44, (0.7, -0.4)), with_cut(SIZE, 1, 19)[1:][:18]]))
    return clip_of(frames, [Fraction(k + 100, 25) for k in range(len(frames))])


@pytest.fixture(scope="module")
def run(film: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("long")
    assert len(run_of(film, [44], 36, out).plan.windows) == 3
    return out


def test_a_seam_shows_what_one_field_shows(film: Clip, run: Path) -> None:
    plan = read_plan(run)
    (seam,) = (seam.at for seam in plan.seams if not seam.is_cut)
    look = Look((2 * SIZE[0], 2 * SIZE[1]), WHOLE, 1 << 16, "cpu")
    around = schedule(
        *(film.pts_seconds, film.end_seconds, film.frame_rate),
        start=seam - Fraction(3, 50),
        end=seam + Fraction(3, 50),
        slowmo=Fraction(2),
        output_rate=Fraction(25),
    )

    def shown(saved: SavedField | WindowedRun) -> Tensor:
        return torch.stack(list(frames_of(saved, around, range(len(around.source_seconds)), look)))

    whole = shown(learnt(film))
    assert len({plan.window_at(seconds) for seconds in around.source_seconds}) == 2
    # Instants in floating point count from each window's own start; nothing else differs.
    assert float((shown(WindowedRun(run)) - whole).abs().max()) < 1e-3
    # It could be seen: a field that begins at the seam shows something else after it.
    late = learnt(film.select(range(film.pts_seconds.index(seam), 44)))
    after = [number for number, seconds in enumerate(around.source_seconds) if seconds > seam]
    alone = torch.stack(list(frames_of(late, around, range(after[0], after[-1] + 1), look)))
    assert float((alone - whole[after]).abs().max()) > 5e-3


def test_source_frames_are_exact_in_every_window(film: Clip, run: Path) -> None:
    plan = schedule(film.pts_seconds, film.end_seconds, film.frame_rate)
    assert torch.equal(to_uint8(rendered(WindowedRun(run), plan, SIZE)), film.frames)


def test_one_field_is_in_memory_at_a_time(film: Clip, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the next one is read."""
    alive: list[int] = []

    def counting(path: Path) -> SavedField:
        gc.collect()
        alive.append(sum(type(found) is VideoField for found in gc.get_objects()))
        return load_field(path)

    gc.collect()
    others = sum(type(found) is VideoField for found in gc.get_objects())
    monkeypatch.setattr("vfield.windows.load_field", counting)
    plan = schedule(film.pts_seconds, film.end_seconds, film.frame_rate)
    saved = WindowedRun(run)
    look = Look(SIZE, WHOLE, 1 << 16, "cpu")
    assert sum(1 for _ in frames_of(saved, plan, range(len(film)), look)) == len(film)
    assert alive == [others, others, others]


def test_a_path_follows_the_clip_and_not_the_window(film: Clip, run: Path) -> None:
    asked: list[float] = []

    def region(t: float) -> tuple[float, float, float, float]:
        asked.append(t)
        return WHOLE

    plan = schedule(film.pts_seconds, film.end_seconds, film.frame_rate)
    list(frames_of(WindowedRun(run), plan, range(len(film)), Look((2, 2), region, 1 << 16, "cpu")))
    assert asked == pytest.approx([float(pts - film.pts_seconds[0]) for pts in film.pts_seconds])


def test_what_is_fitted_can_be_rendered_before_the_rest_is(film: Clip, run: Path, tmp_path: Path) -> None:
    plan = replace(read_plan(run), windows=(*read_plan(run).windows[:2], range(44, 62)))
    write_plan(tmp_path, plan)
    (tmp_path / "000").symlink_to(run / "000")
    saved = WindowedRun(tmp_path)
    assert export(saved, tmp_path / "a", ExportConfig(end=0.4), progress=False).frames == 10
    with pytest.raises(UserError, match=r"001 is not fitted yet; go on with vfield train --resume"):
        export(saved, tmp_path / "b.mp4", ExportConfig(), progress=False)
    assert not (tmp_path / "b.mp4").exists()


def test_other_commands_are_told_which_folder_to_take(run: Path) -> None:
    with pytest.raises(UserError, match=r"name the folder of a window, like .*000"):
        load_field(run)
