"""Stability: closed forms, what moves with the scene, and what does not count."""

from __future__ import annotations

import math

import pytest
import torch
from scenes import picture, translating, with_cut
from torch import Tensor

from vfield.core.metrics import IDENTICAL_PSNR
from vfield.measure.stability import TrueMotion

SIZE = (48, 64)


def levels(frames: Tensor) -> Tensor:
    """Kept within 0.2 to 0.8, so that errors can be laid over them."""
    return 0.2 + 0.6 * frames


def still(frames: int) -> Tensor:
    return levels(picture(SIZE)).expand(frames, -1, -1, -1)


def stability(truth: Tensor, made: Tensor) -> float:
    found = TrueMotion(truth).stability(made)
    assert found is not None
    return found


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def alternating(frames: int) -> Tensor:
    return (-1.0) ** torch.arange(frames)[:, None, None, None]


def test_identical_frames_are_as_steady_as_can_be() -> None:
    truth = levels(translating(SIZE, 4))
    assert TrueMotion(truth).stability(truth) == IDENTICAL_PSNR


def test_an_error_that_stays_costs_nothing_while_nothing_moves() -> None:
    truth = still(4)
    assert stability(truth, truth + 0.1 * noise(3, *SIZE)) > 90


@pytest.mark.parametrize("amplitude", [0.02, 0.1])
def test_flicker_costs_by_its_amplitude_however_the_picture_moves(amplitude: float) -> None:
    # From +a to -a is a change of 2 a.
    expected = -20 * math.log10(2 * amplitude)
    for truth in (still(5), levels(translating(SIZE, 5))):
        made = truth + amplitude * alternating(5)
        assert stability(truth, made) == pytest.approx(expected, abs=0.01)


def test_boiling_noise_of_a_still_picture_counts_twice() -> None:
    truth = still(8)
    made = truth + 0.05 * noise(8, 3, *SIZE)
    assert stability(truth, made) == pytest.approx(-10 * math.log10(2 * 0.05**2), abs=0.1)


def test_an_error_may_move_with_the_scene_but_not_stand_before_it() -> None:
    # Only the brightness is wrong in places: the same places of the scene, or of the screen.
    truth = levels(translating(SIZE, 5, (3.0, 0.0)))
    mask = 0.1 * translating(SIZE, 5, (3.0, 0.0)).roll(1, dims=1)
    assert stability(truth, truth + mask) > stability(truth, truth + mask[:1]) + 10


def test_a_wrong_brightness_of_the_whole_clip_costs_nothing() -> None:
    truth = levels(translating(SIZE, 4))
    assert stability(truth, truth + 0.1) > 90


def test_the_sign_of_the_error_does_not_matter() -> None:
    truth = levels(translating(SIZE, 4))
    error = 0.05 * noise(4, 3, *SIZE)
    assert stability(truth, truth + error) == pytest.approx(stability(truth, truth - error), abs=1e-4)


def test_bytes_are_judged_like_floats() -> None:
    truth = (levels(translating(SIZE, 3)) * 255).round()
    made = truth + 10 * alternating(3)
    as_bytes = stability(truth.byte(), made.byte())
    assert as_bytes == pytest.approx(stability(truth / 255, made / 255), abs=1e-4)
    assert as_bytes == pytest.approx(-20 * math.log10(20 / 255), abs=0.01)


def test_a_held_frame_does_not_outweigh_the_others() -> None:
    # The mean is of errors: half of the pairs without any lift the figure by 3 dB, not half-way to 100.
    truth = still(5)
    made = truth + 0.1 * torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0])[:, None, None, None]
    assert stability(truth, made) == pytest.approx(-10 * math.log10(0.2**2 / 2), abs=0.01)


def test_a_cut_in_the_true_clip_is_no_flicker() -> None:
    truth = with_cut(SIZE, 4, 4)
    error = 0.1 * (torch.arange(8) < 4)[:, None, None, None]
    assert stability(truth, truth + error) > 90


def test_pixels_from_outside_are_left_out() -> None:
    # The scene moves left by 6 pixels, so that the last six columns of each frame are new.
    truth = levels(translating(SIZE, 4, (-6.0, 0.0)))
    at_the_rim, inside = torch.zeros(4, 3, *SIZE), torch.zeros(4, 3, *SIZE)
    at_the_rim[1::2, ..., -3:] = 0.1
    inside[1::2, ..., 30:33] = 0.1
    # What is at the rim is judged when it has come inside, once; what is inside when it comes and when it goes.
    change = [10 ** (-stability(truth, truth + error) / 10) for error in (at_the_rim, inside)]
    assert change[0] < 0.7 * change[1]


def test_one_frame_has_no_stability() -> None:
    truth = still(1)
    assert TrueMotion(truth).stability(truth) is None
