"""Read frames from a field: any size, any instants, any part of the picture, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from einops import rearrange
from torch import Tensor, nn

from vfield.core.coords import Footprint, pixel_uv, with_t
from vfield.core.errors import UserError
from vfield.field.video_field import VideoField

Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


def render(
    field: nn.Module,
    size: tuple[int, int],
    instants: Iterable[float],
    *,
    region: Region | Callable[[float], Region] = WHOLE,
    chunk_points: int = 1 << 16,
    device: torch.device | str = "cpu",
    alpha: bool = False,
) -> Iterator[Tensor]:
    """Frames of a field, one at a time.

    Args:
        field: (n, 3) uvt and a footprint -> (n, 3) rgb.
        size: (height, width) of the output.
        instants: t of each frame, seconds since the clip's first frame.
        region: (u0, v0, u1, v1) of the picture to show; or a function from t to it, for a crop that moves. The
            footprint of a pixel follows it.
        chunk_points: most points to ask for at once; with one frame, all the memory that is used.
        device: where the field lies.
        alpha: ask for alpha, too, which a `VideoField` tells.

    Yields:
        (3, height, width) float32 frames in [0, 1] on the CPU, as they look over black where the clip has alpha. With
        `alpha`, (4, height, width): colours as they are without it (black where nothing is seen), and alpha.

    Raises:
        UserError: when the size, the region or the chunk is empty; for a region that moves, when its frame is due.
    """
    height, width = size
    if height < 1 or width < 1:
        raise UserError(f"size must be at least 1x1, got {width}x{height}")
    if not callable(region):
        _check_region(region)
    if chunk_points < 1:
        raise UserError(f"chunk_points must be at least 1, got {chunk_points}")
    ask: Callable[[Tensor, Footprint], Tensor] = field
    if alpha:
        assert isinstance(field, VideoField)
        ask = field.rgba
    return _frames(ask, size, instants, region, chunk_points, device, 4 if alpha else 3)


def _check_region(region: Region) -> None:
    u0, v0, u1, v1 = region
    if u1 <= u0 or v1 <= v0:
        raise UserError(f"region must be (u0, v0, u1, v1) with u0 < u1 and v0 < v1, got {region}")


def _frames(
    ask: Callable[[Tensor, Footprint], Tensor],
    size: tuple[int, int],
    instants: Iterable[float],
    region: Region | Callable[[float], Region],
    chunk_points: int,
    device: torch.device | str,
    channels: int,
) -> Iterator[Tensor]:
    height, width = size
    for t in instants:
        shown = region(t) if callable(region) else region
        _check_region(shown)
        u0, v0, u1, v1 = shown
        footprint = Footprint(du=(u1 - u0) / width, dv=(v1 - v0) / height)
        # One row and one column of positions: those of a whole 16k frame would take gigabytes.
        u = pixel_uv(1, width, shown)[0, :, 0].to(device)
        v = pixel_uv(height, 1, shown)[:, 0, 1].to(device)
        frame = torch.empty(height * width, channels, device=device)
        for start in range(0, len(frame), chunk_points):
            stop = min(start + chunk_points, len(frame))
            pixels = torch.arange(start, stop, device=device)
            uv = torch.stack([u[pixels % width], v[pixels // width]], dim=-1)
            # Inside the loop: a generator that holds it across a yield would switch it on in its caller.
            with torch.no_grad():
                read = ask(with_t(uv, t), footprint)
                frame[start:stop] = read if channels == 3 else _apart(read)
        yield rearrange(frame.clamp_(0, 1), "(h w) c -> c h w", h=height).cpu()


def _apart(rgba: Tensor) -> Tensor:
    """(n, 4) with colours that are multiplied by alpha -> (n, 4) with colours that are not; black without alpha."""
    alpha = rgba[:, 3:].clamp(0, 1)
    colours = torch.where(alpha > 0, rgba[:, :3] / alpha, 0.0)
    return torch.cat([colours, alpha], dim=-1)
