"""Classical dense optical flow, and warping by it: what starts the motion field and drives a peer method.

A flow is (2, h, w) float32 in pixels; channel 0 is x (right), channel 1 is y (down). The flow from source to target
says source(x) ~ target(x + flow(x)). Everything here works on the CPU and returns the same values on every call.

This is the only module that uses OpenCV, but for a peer that is OpenCV's own.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vfield.core.clip import to_float, to_uint8
from vfield.prepare.config import FlowConfig

# DIS refuses pictures of less than 1.5 patches a side; four leave it neighbours to propagate from, and a pyramid.
_LEAST_PATCHES = 4
_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_POINTS_ACROSS = 1 << 10
# Each round shrinks the error by the flow's own gradient, which is well below one except at motion boundaries.
_FIXED_POINT_ROUNDS = 8
_MISMATCH_SIGMA = 2.5

MEDIUM = FlowConfig(finest_scale=1, patch_size=8, patch_stride=3)
"""OpenCV's preset of that name."""


def dense_flow(source: Tensor, target: Tensor, config: FlowConfig | None = None) -> Tensor:
    """Flow between two pictures (3, h, w), uint8 or float in [0, 1], RGB: source(x) ~ target(x + flow(x)).

    Method: Kroeger, Timofte, Dai and Van Gool, "Fast optical flow using dense inverse search", ECCV 2016, in
    OpenCV's implementation, on 8-bit grey pictures.

    Pictures with a side under four patches (48 pixels by default) are first extended to it by repeating their border;
    a picture of one pixel is legal and its flow is zero.
    """
    config = config or FlowConfig()
    height, width = source.shape[-2:]
    grey = [_grey(picture, _LEAST_PATCHES * config.patch_size) for picture in (source, target)]
    # None: start from no motion. OpenCV's type stubs know only a flow to start from.
    flow: np.ndarray = _search(config).calc(*grey, None)  # type: ignore[call-overload]
    return rearrange(torch.from_numpy(flow[:height, :width]), "h w c -> c h w").contiguous()


def warp(frame: Tensor, flow: Tensor, mode: Literal["linear", "cubic"]) -> Tensor:
    """The frame read at x + flow(x), for every pixel x; beyond the border, the border's pixels are repeated.

    "cubic" may overshoot the frame's range, and its kernel bends straight ramps: between pixels it reads up to 0.04
    pixels off, away from the half. OpenCV before version 5 also rounds positions to 1/32 pixel.

    Args:
        frame: (c, h, w), c at most 4: a picture, uint8 or float in [0, 1], or a flow, in pixels.
        flow: (2, h, w), pixels.
        mode: "linear" or "cubic" (Keys' kernel with a = -0.75).

    Returns:
        (c, h, w) float32, in [0, 1] for a picture, in the units of `frame` otherwise.
    """
    height, width = frame.shape[1:]
    x = np.arange(width, dtype=np.float32)[None, :] + flow[0].cpu().numpy()
    y = np.arange(height, dtype=np.float32)[:, None] + flow[1].cpu().numpy()
    read = cv2.remap(_to_hwc(to_float(frame)), x, y, _INTERPOLATIONS[mode], borderMode=cv2.BORDER_REPLICATE)
    # OpenCV drops the axis of a single channel.
    with_channels = read[..., None] if read.ndim == 2 else read
    return rearrange(torch.from_numpy(with_channels), "h w c -> c h w").contiguous()


def read_points(frame: Tensor, xy: Tensor) -> Tensor:
    """A picture (c, h, w) read at (n, 2) positions in pixels, as `warp` reads it with "cubic": (n, c) float32."""
    if len(xy) == 0:
        return torch.zeros(0, len(frame))
    # OpenCV takes no picture of more rows or columns than 16 bits count.
    rows = -(-len(xy) // _POINTS_ACROSS)
    padded = np.zeros((rows * _POINTS_ACROSS, 2), np.float32)
    padded[: len(xy)] = xy.cpu().numpy()
    x, y = (np.ascontiguousarray(padded[:, i].reshape(rows, _POINTS_ACROSS)) for i in (0, 1))
    read = cv2.remap(_to_hwc(to_float(frame)), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(read.reshape(rows * _POINTS_ACROSS, -1)[: len(xy)])


def flow_between(source: Tensor, target: Tensor, forward: Tensor, backward: Tensor, instant: float) -> Tensor:
    """The flow that belongs to an instant between two frames, made from the flows that belong to the frames.

    With a the instant, a point seen at x at that instant was at x - a v(x) in the source and will be at
    x + (1 - a) v(x) in the target. So v solves v(x) = forward(x - a v(x)), and also v(x) = -backward(x + (1 - a) v(x)).
    Both are solved by repeated substitution; each pixel keeps the solution under which the two frames match better
    in its neighbourhood, which is what decides at occlusions.

    Args:
        source: (3, h, w), uint8 or float in [0, 1].
        target: like `source`.
        forward: (2, h, w), the flow from source to target, pixels.
        backward: (2, h, w), the flow from target to source, pixels.
        instant: where between the frames, 0 (source) to 1 (target).

    Returns:
        (2, h, w) float32: the displacement from source to target of the point seen at each pixel at the instant.
    """
    from_source, from_target = forward, -backward
    for _ in range(_FIXED_POINT_ROUNDS):
        from_source = warp(forward, -instant * from_source, "linear")
        from_target = -warp(backward, (1 - instant) * from_target, "linear")
    keep = _mismatch(source, target, from_source, instant) <= _mismatch(source, target, from_target, instant)
    return torch.where(keep, from_source, from_target)


def _mismatch(source: Tensor, target: Tensor, flow: Tensor, instant: float) -> Tensor:
    """How badly the two frames agree along an in-between flow: (h, w), smoothed over the neighbourhood."""
    difference = warp(source, -instant * flow, "linear") - warp(target, (1 - instant) * flow, "linear")
    mismatch = difference.abs().mean(dim=0).numpy()
    return torch.from_numpy(cv2.GaussianBlur(mismatch, (0, 0), _MISMATCH_SIGMA, borderType=cv2.BORDER_REPLICATE))


def _search(config: FlowConfig) -> cv2.DISOpticalFlow:
    # A fresh one for every pair: OpenCV writes scales and patch size back onto the object when a picture is small.
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(config.finest_scale)
    search.setPatchSize(config.patch_size)
    search.setPatchStride(config.patch_stride)
    search.setVariationalRefinementIterations(config.variational_iterations)
    return search


def _grey(picture: Tensor, least: int) -> np.ndarray:
    """The picture in grey, with its last row and column repeated up to the least side."""
    grey = cv2.cvtColor(_to_hwc(to_uint8(picture)), cv2.COLOR_RGB2GRAY)
    return np.pad(grey, [(0, max(0, least - side)) for side in grey.shape], mode="edge")


def _to_hwc(picture: Tensor) -> np.ndarray:
    return np.ascontiguousarray(rearrange(picture.detach().cpu(), "c h w -> h w c").numpy())
