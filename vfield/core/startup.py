"""What importing the package does: hardly anything, but for how threads wait and memory is given back."""

from __future__ import annotations

import ast
import ctypes
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What is set, and by which settings of the user's own it is left alone. GNU's library heeds OMP_WAIT_POLICY and
# GOMP_SPINCOUNT; LLVM's and Intel's, which torch has on macOS and Windows, spin for 200 ms even so, unless
# KMP_BLOCKTIME says less. `accelerate launch` on CPUs sets that one alone, which GNU's library does not know.
_WAITING = {
    "OMP_WAIT_POLICY": ("PASSIVE", {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}),
    "KMP_BLOCKTIME": ("0", {"OMP_WAIT_POLICY", "KMP_BLOCKTIME"}),
}
# Of mallopt(3): from how many bytes on a block has pages of its own, and how much may lie unused at the heap's end.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_OWN_PAGES_FROM = 2 << 20


def wait_asleep() -> None:
    """Let the threads of an OpenMP that is yet to be loaded sleep while they wait for each other.

    By themselves they spin, which gains little where a machine has nothing else to do. Where it has, they burn the time
    of the very threads that they wait for: a fit beside other programs took 10 to 60 times as long. OpenMP reads how it
    is to wait when it is loaded, which is when torch is; after that nothing is changed, nor what the user has set.
    """
    if "torch" not in sys.modules:
        os.environ |= {name: value for name, (value, said) in _WAITING.items() if not said & os.environ.keys()}


def give_back_memory() -> None:
    """Have the C library return the memory of a freed picture to the system at once, unless the user has told it how.

    GNU's takes the size of the largest block that was ever freed, up to 32 MB, for one that will soon be asked for
    again, and keeps so much: a fit of 1280x720 held 3.3 GB, of which it used 2.0, and is as fast without.
    """
    if sys.platform == "linux" and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_FROM)
            mallopt(_M_TRIM_THRESHOLD, 4 * _OWN_PAGES_FROM)


def names_from(package: str, file: str) -> Callable[[str], Any]:
    """A package's `__getattr__` (PEP 562): each name is loaded when it is first used.

    Its home is where the package's own file imports it from, for type checkers alone (`if TYPE_CHECKING`).
    """
    imports = ast.parse(Path(file).read_text(encoding="utf-8"))
    homes = {
        alias.name: str(node.module)
        for node in ast.walk(imports)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return load
