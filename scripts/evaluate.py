"""Judge a fit beside its peers: python scripts/evaluate.py --clip clip.mp4 --holdout 2"""

import sys

from vfield.cli import evaluate_main

if __name__ == "__main__":
    sys.exit(evaluate_main())
