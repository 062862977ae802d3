"""The one door to matplotlib, which only experiments need."""

from __future__ import annotations

from typing import Any

from vfield.errors import UserError


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files.

    Raises:
        UserError: when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("experiments draw with matplotlib; install it: pip install 'vfield[lab]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
