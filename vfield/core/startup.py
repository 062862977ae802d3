"""What importing the package does: hardly anything, and torch's threads are told to wait asleep."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

# What is set, and by which settings of the user's own it is left alone. GNU's library heeds OMP_WAIT_POLICY and
# GOMP_SPINCOUNT; LLVM's and Intel's, which torch has on macOS and Windows, spin for 200 ms even so, unless
# KMP_BLOCKTIME says less. `accelerate launch` on CPUs sets that one alone, which GNU's library does not know.
_WAITING = {
    "OMP_WAIT_POLICY": ("PASSIVE", {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}),
    "KMP_BLOCKTIME": ("0", {"OMP_WAIT_POLICY", "KMP_BLOCKTIME"}),
}


def wait_asleep() -> None:
    """Let the threads of an OpenMP that is yet to be loaded sleep while they wait for each other.

    By themselves they spin, which gains little where a machine has nothing else to do. Where it has, they burn the time
    of the very threads that they wait for: a fit beside other programs took 10 to 60 times as long. OpenMP reads how it
    is to wait when it is loaded, which is when torch is; after that nothing is changed, nor what the user has set.
    """
    if "torch" not in sys.modules:
        os.environ |= {name: value for name, (value, said) in _WAITING.items() if not said & os.environ.keys()}


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` (PEP 562): each name is loaded from its module in `homes` when it is first used."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return load
