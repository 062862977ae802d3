"""How small a field is for how good a picture: a sweep of the quantiser's step, beside video codecs and HNeRV.

PSNR is the mean over all frames in 8-bit RGB; bits per pixel are the whole file's, over frames x height x width.
Decoding is everything from opening the file to the last frame at its own size. Times are the processor's, of all
threads together, so that other work on the machine does not count. The video codecs are FFmpeg's own, by their default
presets, with 4:2:0 pixels, read back from the file.

HNeRV's figures (Chen, Gwilliam, Lim and Shrivastava, CVPR 2023, on bigbuckbunny at 640 x 1280, 132 frames, 300 epochs)
are given by their numbers of parameters. They are placed at 8 bits a parameter, before entropy coding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from vfield.checkpoint import FIELD_NAME, load_field
from vfield.clip import Clip, to_uint8
from vfield.coords import keyframe_t
from vfield.metrics import psnr
from vfield.render import render
from vfield.training import Config, fit
from vfield.video_io import VideoWriter, read_clip

_PARAMETER_BITS = 8


@dataclass(frozen=True)
class CompactRow:
    """One method at one setting.

    Attributes:
        name: the method.
        setting: what its dial stood at.
        psnr: dB in RGB, mean over all frames.
        file_bytes: size of the file.
        bits_per_pixel: of the file.
        fit_seconds: processor time to make the file.
        decode_seconds: processor time from opening the file to the last frame.
        frames: how many.
    """

    name: str
    setting: str
    psnr: float
    file_bytes: int
    bits_per_pixel: float
    fit_seconds: float
    decode_seconds: float
    frames: int


@dataclass(frozen=True)
class Published:
    """A figure of a paper, on bigbuckbunny at 640 x 1280 with 132 frames.

    Attributes:
        name: the method.
        parameters: how many it has.
        psnr: dB.
    """

    name: str
    parameters: float
    psnr: float

    @property
    def bits_per_pixel(self) -> float:
        """At 8 bits a parameter."""
        return self.parameters * _PARAMETER_BITS / (132 * 640 * 1280)


PUBLISHED = (
    Published("NeRV", 3.0e6, 33.21),
    Published("E-NeRV", 3.0e6, 36.72),
    Published("HNeRV", 3.0e6, 37.43),
    Published("NeRV", 1.5e6, 30.87),
    Published("E-NeRV", 1.5e6, 32.09),
    Published("HNeRV", 1.5e6, 35.57),
)


def cropped(clip: Clip, height: int, width: int) -> Clip:
    """The middle of a clip's frames, as they look over black; sides that are smaller stay."""
    top, left = max(0, (clip.height - height) // 2), max(0, (clip.width - width) // 2)
    frames = clip.frames[..., top : top + height, left : left + width].contiguous()
    return replace(clip, frames=frames, alpha=None)


def compact(
    clip: Clip, config: Config, steps: Sequence[float], peers: Mapping[str, str], crfs: Sequence[int]
) -> Iterator[CompactRow]:
    """Judge the field at every step, then every codec at every quality.

    Args:
        clip: what to keep.
        config: of the fit, with compression.
        steps: of the quantiser, grey levels.
        peers: names of codecs for `VideoWriter`, by the names of their rows.
        crfs: their qualities.

    Yields:
        A row as soon as it is there.
    """
    for step in steps:
        with TemporaryDirectory(prefix="vfield-") as folder:
            yield _field_row(clip, replace(config, compression=replace(config.compression, step=step)), Path(folder))
    for name, codec in peers.items():
        for crf in crfs:
            with TemporaryDirectory(prefix="vfield-") as folder:
                yield _codec_row(clip, name, codec, crf, Path(folder))


def _field_row(clip: Clip, config: Config, folder: Path) -> CompactRow:
    began = time.process_time()
    fit(clip, config, out=folder, progress=False)
    fit_seconds, began = time.process_time() - began, time.process_time()
    field = load_field(folder).field
    instants = field.held(keyframe_t(clip.pts_seconds).tolist())
    made = torch.stack([to_uint8(frame) for frame in render(field, field.size, instants)])
    seconds = time.process_time() - began
    size = (folder / FIELD_NAME).stat().st_size
    return _row("vfield", f"step {config.compression.step:g}", clip, made, size, fit_seconds, seconds)


def _codec_row(clip: Clip, name: str, codec: str, crf: int, folder: Path) -> CompactRow:
    path = folder / "clip.mp4"
    began = time.process_time()
    with VideoWriter(
        path,
        height=clip.height,
        width=clip.width,
        frame_rate=clip.frame_rate,
        color=clip.color,
        codec=codec,
        crf=crf,
        pixel_format="yuv420p",
    ) as writer:
        for frame in to_uint8(clip.frames):
            writer.write(frame)
    made_in = time.process_time() - began
    began = time.process_time()
    made = read_clip(path).frames
    return _row(name, f"crf {crf}", clip, made, path.stat().st_size, made_in, time.process_time() - began)


def _row(
    name: str, setting: str, clip: Clip, made: Tensor, file_bytes: int, fit_seconds: float, decode_seconds: float
) -> CompactRow:
    truth, made = to_uint8(clip.frames), to_uint8(made)
    return CompactRow(
        name,
        setting,
        float(psnr(made, truth).mean()),
        file_bytes,
        8 * file_bytes / (len(clip) * clip.height * clip.width),
        fit_seconds,
        decode_seconds,
        len(clip),
    )


def compact_table(rows: Sequence[CompactRow]) -> list[list[str]]:
    """The rows as cells, with their head."""
    head = ["method", "setting", "PSNR dB", "file kB", "bits/pixel", "fit s", "decode s", "decode fps"]
    body = [
        [
            row.name,
            row.setting,
            f"{row.psnr:.2f}",
            f"{row.file_bytes / 1000:.0f}",
            f"{row.bits_per_pixel:.4f}",
            f"{row.fit_seconds:.0f}",
            f"{row.decode_seconds:.1f}",
            f"{row.frames / row.decode_seconds:.1f}",
        ]
        for row in rows
    ]
    return [head, *body]
