"""What coding does to pictures."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import av
import torch
from einops import rearrange
from torch import Tensor

from vfield.video_io.files import open_to_read, open_to_write


def through_codec(pictures: Tensor, crf: int) -> Tensor:
    """Pictures (t, 3, h, w) uint8, of even sides, as they come back from H.264 of constant quality, always alike."""
    _, _, height, width = pictures.shape
    with TemporaryDirectory() as folder:
        path = Path(folder) / "coded.mkv"
        with open_to_write(path, "matroska") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            # With frames between frames, or on several threads, x264 does not always decide alike.
            stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0"}
            for picture in rearrange(pictures, "t c h w -> t h w c"):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.contiguous().numpy(), format="rgb24")))
            container.mux(stream.encode())
        with open_to_read(path) as coded:
            back = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in coded.decode(video=0)]
    return rearrange(torch.stack(back), "t h w c -> t c h w")
