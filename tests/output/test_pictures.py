"""The picture of what a field adds, as a file."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.field.checkpoint import SavedField
from vfield.field.config import FieldConfig
from vfield.learn.start import start_field
from vfield.output.pictures import side_by_side
from vfield.prepare.flow import FlowConfig

HEIGHT, WIDTH = 48, 80


@pytest.fixture(scope="module")
def saved() -> SavedField:
    """A field of a texture that moves by two pixels a frame."""
    wide = torch.rand(3, HEIGHT // 4, WIDTH // 4 + 4, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(wide[None], scale_factor=4, mode="bicubic")[0].clamp(0, 1)
    frames = torch.stack([wide[:, :, 2 * i : 2 * i + WIDTH] for i in range(5)])
    pts = tuple(Fraction(i, 25) for i in range(5))
    clip = Clip(frames, pts, Fraction(5, 25), Fraction(25))
    return SavedField(start_field(clip, FieldConfig(), FlowConfig(), seed=0).field, clip.facts)


@pytest.mark.slow
def test_the_side_by_side_is_a_picture(saved: SavedField, tmp_path: Path) -> None:
    path = tmp_path / "side.png"
    side_by_side(saved, path)
    with Image.open(path) as picture:
        assert picture.width > 2 * 4 * HEIGHT
    with pytest.raises(UserError, match="exists; add --overwrite"):
        side_by_side(saved, path)
    side_by_side(saved, path, overwrite=True)


def test_a_side_by_side_that_cannot_be_written_is_one_clear_error(saved: SavedField, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be a \.png"):
        side_by_side(saved, tmp_path / "side.jpg")
    with pytest.raises(UserError, match="missing does not exist"):
        side_by_side(saved, tmp_path / "missing" / "side.png")
    assert list(tmp_path.iterdir()) == []
