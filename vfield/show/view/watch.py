"""Work with a field that is given up from within."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


class OutdatedError(Exception):
    """Nobody waits for this any more."""


@contextmanager
def watched(field: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """While this lasts, `check` is called before any part of a field works; what it raises ends the work.

    A field asked for one chunk of points may first have to make a finer level of two keyframes, which takes as long as
    many chunks. That is the work of its parts, and what it keeps of them it keeps only once they are done.
    """

    def before(_: nn.Module, __: object) -> None:
        check()

    hooks = [part.register_forward_pre_hook(before) for part in field.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
