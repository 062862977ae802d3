"""Run the open suite beside what people use today: python scripts/benchmark.py interpolation"""

import sys

from vfield.cli import benchmark_main

if __name__ == "__main__":
    sys.exit(benchmark_main())
