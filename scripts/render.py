"""Export a video from a fitted field: python scripts/render.py RUN --slowmo 4 -o slow.mp4"""

import sys

from vfield.cli import render_main

if __name__ == "__main__":
    sys.exit(render_main())
