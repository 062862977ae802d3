"""What a field expects of itself: beside the truth where there is one, shot by shot, and kept in the field file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scenes import clip_of, start_of, translating, with_cut

from vfield.core.errors import UserError
from vfield.field.checkpoint import FIELD_NAME, load_field, save_field
from vfield.field.config import FieldConfig
from vfield.field.expectation import Expectation, Stretch
from vfield.field.motion import MotionConfig
from vfield.learn.expecting import DOUBTFUL_PSNR, expect
from vfield.learn.held_out import judge_held_out, split
from vfield.video_io import read_clip

pytestmark = pytest.mark.slow

SIZE = (48, 64)


def expectation_of(frames: torch.Tensor, config: FieldConfig | None = None) -> Expectation | None:
    start = start_of(clip_of(frames), config or FieldConfig())
    return expect(start.field, start.rehearsal)


def test_each_shot_has_its_own_stretch() -> None:
    found = expectation_of(with_cut(SIZE, 6, 5))
    assert found is not None
    assert [shot.gaps for shot in found.shots] == [5, 4]
    times = [(shot.start_seconds, shot.end_seconds) for shot in found.shots]
    assert times == [(0.0, pytest.approx(5 / 25)), (pytest.approx(6 / 25), pytest.approx(10 / 25))]
    weighed = (5 * found.shots[0].psnr + 4 * found.shots[1].psnr) / 9
    assert found.psnr == pytest.approx(weighed)


def test_a_smooth_translation_is_expected_to_succeed() -> None:
    found = expectation_of(translating(SIZE, 7, (1.0, 0.5)))
    assert found is not None
    assert found.psnr > 30
    assert found.warning is None


def test_frames_without_a_common_motion_are_doubted_in_one_line() -> None:
    noise = torch.rand(6, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    found = expectation_of(0.4 + 0.2 * noise)
    calm = expectation_of(translating(SIZE, 6, (1.0, 0.5)))
    assert found is not None
    assert calm is not None
    assert found.psnr < calm.psnr - 5
    wild = Expectation(found.shots, (Stretch(0.04, 0.12, 2, 17.3), Stretch(0.2, 0.24, 1, 21.0)))
    assert wild.warning is not None
    assert "0.04 to 0.12 s" in wild.warning
    assert "17 dB" in wild.warning
    assert "\n" not in wild.warning


def test_doubtful_gaps_are_joined_into_stretches() -> None:
    # White noise: little matches, and yet it is no cut.
    noise = torch.rand(6, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    found = expectation_of(0.4 + 0.2 * noise)
    assert found is not None
    (stretch,) = found.doubtful
    assert stretch.psnr < DOUBTFUL_PSNR
    assert stretch.gaps == sum(shot.gaps for shot in found.shots) == 5


@pytest.mark.parametrize("frames", [1, 2])
def test_nothing_is_expected_where_nothing_can_be_hidden(frames: int) -> None:
    assert expectation_of(translating(SIZE, frames)) is None


def test_nothing_is_expected_without_motion() -> None:
    assert expectation_of(translating(SIZE, 5), FieldConfig(motion=MotionConfig(enabled=False))) is None


def test_the_field_file_keeps_it(tmp_path: Path) -> None:
    clip = clip_of(with_cut(SIZE, 5, 4))
    start = start_of(clip)
    found = expect(start.field, start.rehearsal)
    assert found is not None
    save_field(tmp_path / FIELD_NAME, start.field, clip.facts, found)
    assert load_field(tmp_path).expectation == found


def test_a_rehearsal_answers_only_for_hidden_keyframes() -> None:
    rehearsal = start_of(clip_of(translating(SIZE, 5))).rehearsal
    assert rehearsal is not None
    with pytest.raises(UserError, match="hidden"):
        rehearsal.field(torch.zeros(1, 3))


def test_what_is_expected_of_a_real_clip_is_within_a_decibel_of_the_truth(shared_clip: Callable[[str], Path]) -> None:
    parts = split(read_clip(shared_clip("carphone.mp4"), max_frames=49), 2)
    start = start_of(parts.observed)
    found = expect(start.field.eval(), start.rehearsal)
    assert found is not None
    assert found.psnr == pytest.approx(judge_held_out(start.field, parts.held_out).psnr, abs=1.0)
