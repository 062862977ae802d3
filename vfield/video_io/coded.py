"""What coding does to pictures, without a file."""

from __future__ import annotations

import io

import av
import torch
from einops import rearrange
from torch import Tensor


def through_codec(pictures: Tensor, crf: int) -> Tensor:
    """Pictures (t, 3, h, w) uint8, of even sides, as they come back from H.264 of constant quality, always alike."""
    _, _, height, width = pictures.shape
    held = io.BytesIO()
    with av.open(held, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        # With frames between frames, or on several threads, x264 does not always decide alike.
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0"}
        for picture in rearrange(pictures, "t c h w -> t h w c"):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.contiguous().numpy(), format="rgb24")))
        container.mux(stream.encode())
    held.seek(0)
    with av.open(held, "r") as container:
        back = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return rearrange(torch.stack(back), "t h w c -> t c h w")
