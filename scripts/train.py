"""Fit a neural field to a video clip: python scripts/train.py --video clip.mp4"""

import sys

from vfield.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
