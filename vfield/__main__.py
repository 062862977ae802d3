"""`python -m vfield`, which is the `vfield` command."""

import sys

from vfield.cli import main

if __name__ == "__main__":
    sys.exit(main())
