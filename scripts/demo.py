"""The main job on the demo clip: fit, then slow motion, an enlarged video and a picture of both."""

import sys
from pathlib import Path

from vfield.cli import render_main, snapshot_main, train_main

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "data" / "bigbuckbunny.mp4"
RUN = ROOT / "runs" / "demo"


def demo() -> int:
    """Run the whole path; the exit code of the first step that fails, or 0."""
    slow, large, picture = RUN / "slow-motion-x4.mp4", RUN / "upscaled-x2.mp4", RUN / "side-by-side.png"
    fit = ["--video", str(CLIP), "--size", "640x360", "--out", str(RUN), "--overwrite"]
    steps = [
        (train_main, fit),
        (render_main, [str(RUN), "--slowmo", "4", "--overwrite", "-o", str(slow)]),
        (render_main, [str(RUN), "--scale", "2", "--overwrite", "-o", str(large)]),
        (snapshot_main, [str(RUN), "--overwrite", "-o", str(picture)]),
    ]
    for step, words in steps:
        code = step(words)
        if code:
            return code
    print("\nThe demo left:")
    for path in (slow, large, picture):
        print(f"  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(demo())
