"""Pictures for people."""

import pytest
import torch

from vfield.core.drawing import busiest, diverging_colours, error_picture, magnify, most_detailed, panel, with_errors
from vfield.video_io import enlarge_lanczos, resize

HEIGHT, WIDTH = 48, 80


def test_the_most_detailed_region_is_found() -> None:
    frame = torch.zeros(3, 160, 200, dtype=torch.uint8)
    frame[:, :, 20:] = 255  # a border, strong but plain
    frame[:, 90:150, 130:190] = 255 * (torch.arange(60) % 2)
    y, x, side = most_detailed(frame, 64)
    assert (abs(y - 88), abs(x - 128), side) <= (8, 8, 64)
    assert most_detailed(frame[:, :20, :10], 64)[2] == 10


def test_the_busiest_region_may_be_wider_than_high() -> None:
    energy = torch.zeros(1, 100, 200)
    energy[:, 40:56, 100:164] = 1
    y, x = busiest(energy, 16, 64)
    assert (abs(y - 40) <= 1, abs(x - 100) <= 4) == (True, True)
    assert busiest(energy, 100, 200) == (0, 0)


def test_the_enlarged_region_is_cut_from_the_enlarged_frame() -> None:
    frame = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = resize(frame[None], 4 * HEIGHT, 4 * WIDTH, "lanczos")[0].int()
    for y, x in ((0, 0), (20, 30), (HEIGHT - 16, WIDTH - 16)):
        made = enlarge_lanczos(frame, (y, x, 16)).int()
        assert (made - whole[:, 4 * y : 4 * y + 64, 4 * x : 4 * x + 64]).abs().max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16000, 16), (2, 20000), (1, 1), (1, 9), (320, 320), (3000, 4000), (100000, 1)])
def test_pictures_of_any_shape_make_panels_of_bounded_size(size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size)
    for made in (panel([("one", picture), ("two", picture)]), with_errors(("truth", picture), [("made", picture)], 5)):
        assert made.dtype == torch.uint8
        assert made.shape[-1] >= 320
        assert made.numel() < 60e6


def test_magnified_pixels_are_squares() -> None:
    assert magnify(torch.tensor([[[1, 2]]]), 2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2]]]


def test_no_error_is_black_and_a_small_one_is_amplified() -> None:
    truth = torch.full((3, 2, 2), 0.5)
    assert error_picture(truth, truth, 10).max() == 0
    torch.testing.assert_close(error_picture(truth + 0.02, truth, 10), torch.full((3, 2, 2), 0.2))


def test_even_shares_are_grey() -> None:
    grey = diverging_colours(torch.tensor([[0.5]]))
    assert (grey == grey[0]).all()
    blue, orange = diverging_colours(torch.tensor([[0.0]])), diverging_colours(torch.tensor([[1.0]]))
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]


def test_a_panel_holds_its_pictures_side_by_side() -> None:
    red, blue = torch.zeros(3, 320, 320), torch.zeros(3, 320, 320)
    red[0], blue[2] = 1, 1
    made = panel([("red", red), ("blue", blue)])
    bottom = made[:, -50]
    assert bottom[:, 100].tolist() == [255, 0, 0]
    assert bottom[:, -100].tolist() == [0, 0, 255]


def test_errors_lie_beneath_what_they_are_of() -> None:
    truth = torch.full((3, 320, 320), 0.5)
    made = [("same", truth), ("brighter", truth + 0.1), ("a", truth), ("b", truth)]
    picture = with_errors(("truth", truth), made, gain=5)
    # Four columns, two rows of a picture above its error; every cell has a strip for its caption and a white rim.
    cell = (picture.shape[1] - 8) // 4
    assert picture.shape[2] == 4 * 328 + 8

    def middle(row: int, column: int) -> list[int]:
        return picture[:, row * cell + cell // 2, column * 328 + 168].tolist()

    assert middle(0, 0) == middle(0, 1) == middle(2, 0) == [128] * 3
    assert middle(1, 0) == middle(2, 1) == middle(3, 3) == [255] * 3
    assert middle(1, 1) == middle(3, 0) == [0] * 3
    assert all(abs(value - 128) <= 1 for value in middle(1, 2))
