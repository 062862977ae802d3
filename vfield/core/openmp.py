"""How torch's threads wait for each other: asleep.

OpenMP's threads spin while they wait, for the work that comes next or for the slowest of them. That gains little where
a machine has nothing else to do. Where it has, they burn the time of the very threads that they wait for: a fit beside
other programs took 10 to 60 times as long. The library reads how it is to wait when it is loaded, which is when torch
is; so this must come before.
"""

from __future__ import annotations

import os
import sys

# What is set, and by which settings of the user's own it is left alone. GNU's library heeds OMP_WAIT_POLICY and
# GOMP_SPINCOUNT; LLVM's and Intel's, which torch has on macOS and Windows, spin for 200 ms even so, unless
# KMP_BLOCKTIME says less. `accelerate launch` on CPUs sets that one alone, which GNU's library does not know.
_SETTINGS = {
    "OMP_WAIT_POLICY": ("PASSIVE", {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}),
    "KMP_BLOCKTIME": ("0", {"OMP_WAIT_POLICY", "KMP_BLOCKTIME"}),
}


def wait_asleep() -> None:
    """Let the threads of an OpenMP that is yet to be loaded sleep while they wait.

    Nothing is changed that the user has set, nor where torch is loaded: then it is too late.
    """
    if "torch" in sys.modules:
        return
    wanted = {name: value for name, (value, said) in _SETTINGS.items() if not said & os.environ.keys()}
    os.environ |= wanted
