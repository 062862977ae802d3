"""Metrics: closed forms, slow references, and what "the mean over frames" means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vfield.core.errors import UserError
from vfield.core.metrics import IDENTICAL_PSNR, Scores, ms_ssim, psnr, score, ssim


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def slightly_wrong(frames: Tensor, amount: int, seed: int = 9) -> Tensor:
    return (frames.int() + noise(*frames.shape, seed=seed).int() % amount).clamp(0, 255).to(torch.uint8)


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of one channel by its definition, window after window, on the picture reflected at its borders."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    a, b = (np.pad(x.astype(np.float64), 5, mode="reflect") for x in (a, b))
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
            both = (window * (p - mean_p) * (q - mean_q)).sum()
            values.append(
                (2 * mean_p * mean_q + c1) * (2 * both + c2) / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2))
            )
    return float(np.mean(values))


def test_psnr_of_a_constant_offset() -> None:
    frames = torch.full((2, 3, 8, 9), 100, dtype=torch.uint8)
    expected = torch.tensor([20 * math.log10(255 / 5), 20 * math.log10(255 / 10)])
    reference = frames + torch.tensor([5, 10], dtype=torch.uint8)[:, None, None, None]
    torch.testing.assert_close(psnr(frames, reference), expected)
    # Bytes do not wrap around when the reference is the brighter one.
    torch.testing.assert_close(psnr(reference, frames), expected)


def test_psnr_agrees_with_numpy() -> None:
    a, b = noise(3, 3, 20, 30), noise(3, 3, 20, 30, seed=1)
    error = ((a.numpy().astype(np.float64) - b.numpy()) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(psnr(a, b).numpy(), 10 * np.log10(255**2 / error), rtol=1e-6)


def test_nothing_scores_above_identical_frames() -> None:
    frames = noise(1, 3, 600, 700)
    assert psnr(frames, frames) == IDENTICAL_PSNR
    nearly = frames.clone()
    nearly[0, 0, 0, 0] ^= 1
    assert psnr(nearly, frames) == IDENTICAL_PSNR
    nearly[0, 0] ^= 1
    assert psnr(nearly, frames) < IDENTICAL_PSNR


def test_floats_are_judged_as_the_bytes_they_become() -> None:
    frames = noise(2, 3, 32, 32)
    reference = noise(2, 3, 32, 32, seed=1)
    floats = frames / 255 + 0.4 / 255
    assert score(floats.clamp(max=2), reference.float() / 255) == score(frames, reference)
    over = torch.full((1, 3, 32, 32), 1.7)
    assert psnr(over, torch.ones(1, 3, 32, 32)) == IDENTICAL_PSNR


def test_ssim_agrees_with_its_definition() -> None:
    reference = noise(2, 3, 13, 15)
    frames = slightly_wrong(reference, 90)
    expected = [
        np.mean([naive_ssim(frames[i, c].numpy(), reference[i, c].numpy()) for c in range(3)]) for i in range(2)
    ]
    np.testing.assert_allclose(ssim(frames, reference).numpy(), expected, rtol=1e-4)


def test_identical_frames_are_similar_to_one() -> None:
    frames = noise(2, 3, 48, 64)
    torch.testing.assert_close(ssim(frames, frames), torch.ones(2))
    torch.testing.assert_close(ms_ssim(frames, frames), torch.ones(2))


@pytest.mark.parametrize("side", [11, 12, 21, 22, 43, 44, 98, 99, 144, 175, 176, 200])
def test_ms_ssim_takes_every_size_from_the_window_on(side: int) -> None:
    reference = noise(1, 3, side, side + 7)
    value = ms_ssim(slightly_wrong(reference, 60), reference)
    assert 0 < value < 1


def test_ms_ssim_with_room_for_one_scale_is_ssim() -> None:
    reference = noise(2, 3, 21, 40)
    frames = slightly_wrong(reference, 120)
    torch.testing.assert_close(ms_ssim(frames, reference), ssim(frames, reference))


def test_pictures_smaller_than_the_window_have_no_similarity() -> None:
    frames = noise(3, 3, 10, 40)
    assert ssim(frames, frames).isnan().all()
    assert ms_ssim(frames, frames).isnan().all()
    assert score(frames, frames).psnr == IDENTICAL_PSNR


def test_a_score_is_the_mean_of_the_frames_and_not_of_their_errors() -> None:
    reference = torch.full((2, 3, 16, 16), 50, dtype=torch.uint8)
    frames = reference + torch.tensor([1, 100], dtype=torch.uint8)[:, None, None, None]
    of_frames = (20 * math.log10(255) + 20 * math.log10(255 / 100)) / 2
    of_mean_error = 10 * math.log10(255**2 / ((1 + 100**2) / 2))
    scores = score(frames, reference)
    assert isinstance(scores, Scores)
    assert scores.frames == 2
    assert scores.psnr == pytest.approx(of_frames, abs=1e-4)
    assert abs(scores.psnr - of_mean_error) > 10
    assert scores.ssim == pytest.approx(float(ssim(frames, reference).mean()))


def test_one_frame_scores_the_same_alone_as_among_others() -> None:
    reference = noise(3, 3, 24, 30)
    frames = slightly_wrong(reference, 50)
    for metric in (psnr, ssim, ms_ssim):
        assert torch.equal(metric(frames[1:2], reference[1:2]), metric(frames, reference)[1:2])


def test_wrong_shapes_are_named() -> None:
    for metric in (psnr, ssim, ms_ssim, score):
        with pytest.raises(UserError, match=r"got \(1, 3, 16, 16\) and \(1, 3, 16, 17\)"):
            metric(noise(1, 3, 16, 16), noise(1, 3, 16, 17))
    with pytest.raises(UserError, match=r"got \(1, 4, 16, 16\)"):
        psnr(noise(1, 4, 16, 16), noise(1, 4, 16, 16))
    with pytest.raises(UserError, match=r"got \(0, 3, 16, 16\)"):
        psnr(noise(0, 3, 16, 16), noise(0, 3, 16, 16))
