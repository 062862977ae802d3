"""fit_windows(): a long clip as windows, one field after the other, each kept as soon as it is done.

Several processes deal the windows out among themselves and fit each as a single process would. They wait for each other
only in the end.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from vfield.clip import Clip
from vfield.crew import Crew
from vfield.errors import UserError
from vfield.meter import meter
from vfield.training.fits import FitResult, fit
from vfield.training.saves import RESUME_NAME
from vfield.training.settings import Config
from vfield.windows import FITTED_NAME, WindowPlan, mark_fitted

_LOG = logging.getLogger("vfield")
# One window may be bad; when so many fail one after the other, the next ones would, too.
_MOST_FAILURES = 2


class WindowSource(NamedTuple):
    """Where a window's frames come from.

    Attributes:
        read: gives the frames of a window by its number.
        records: texts to keep with the window's run, by file name.
        conclude: called with a window's number, its frames, what its fit gave, and the most memory in megabytes that
            took, before the window counts as fitted.
    """

    read: Callable[[int], Clip]
    records: Callable[[int], Mapping[str, str]]
    conclude: Callable[[int, Clip, FitResult, float], None]


@dataclass(frozen=True)
class WindowsResult:
    """What fitting windows gave, over all processes.

    Attributes:
        fitted: how many windows are fitted by now, those of earlier runs included.
        seconds: time taken now.
        interrupted: whether it was stopped by Ctrl-C before its end.
    """

    fitted: int
    seconds: float
    interrupted: bool


def fit_windows(
    plan: WindowPlan, source: WindowSource, config: Config, *, out: Path, crew: Crew, progress: bool = True
) -> WindowsResult:
    """Fit every window of a plan that is not fitted yet; one that was begun goes on from its last save.

    A window that fails leaves the others: they are fitted, and then its error is told.

    Args:
        plan: the windows.
        source: where their frames come from.
        config: of each fit; `steps` are each window's, `minutes` those of the whole run, shared out by frames.
        out: run folder; each window gets an ordinary run folder in it.
        crew: the processes that share the windows, all of which call this.
        progress: show progress bars, in the main process.

    Raises:
        UserError: when a window failed, in this process or another, or another process died.
    """
    began = time.monotonic()
    failures, interrupted = _fit_share(plan, source, config, out, crew, progress)
    ended = crew.hear_all("windows", {"failures": failures, "interrupted": interrupted})
    failed = [failure for words in ended for failure in words["failures"]]
    if failed:
        raise UserError(f"{failed[0]} ({len(failed)} windows failed); the others are kept: go on with --resume")
    fitted = sum(plan.is_fitted(out, number) for number in range(len(plan.windows)))
    return WindowsResult(fitted, time.monotonic() - began, any(words["interrupted"] for words in ended))


def _fit_share(
    plan: WindowPlan, source: WindowSource, config: Config, out: Path, crew: Crew, progress: bool
) -> tuple[list[str], bool]:
    """Fit this process's windows; what went wrong with which, and whether Ctrl-C ended it."""
    failures: list[str] = []
    in_a_row = 0
    for number in range(crew.rank, len(plan.windows), crew.size):
        if plan.is_fitted(out, number):
            continue
        folder = plan.folder(out, number)
        _LOG.info("window %d of %d: %s", number + 1, len(plan.windows), folder)
        try:
            interrupted = _fit_one(plan, number, source, config, folder, crew, progress)
        except (UserError, RuntimeError, MemoryError) as error:
            # Not the end of the others' work. It is told in the end, by every process.
            failures.append(f"{folder}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            _LOG.error("failed: %s", failures[-1], exc_info=not isinstance(error, UserError))
            in_a_row += 1
            if in_a_row == _MOST_FAILURES:
                break
            continue
        in_a_row = 0
        if interrupted:
            return failures, True
        gc.collect()
    return failures, False


def _fit_one(
    plan: WindowPlan, number: int, source: WindowSource, config: Config, folder: Path, crew: Crew, progress: bool
) -> bool:
    """Fit one window and conclude it; whether Ctrl-C ended that."""
    (folder / FITTED_NAME).unlink(missing_ok=True)
    window = plan.windows[number]
    if config.training.minutes is not None:
        frames = sum(map(len, plan.windows))
        minutes = config.training.minutes * crew.size * len(window) / frames
        config = replace(config, training=replace(config.training, minutes=minutes))
    # A run that was stopped before its first save has nothing to lose by starting again.
    resume = (folder / RESUME_NAME).is_file()
    records = source.records(number)
    with meter() as peak_megabytes:
        clip = source.read(number)
        if clip.pts_seconds != plan.facts.pts_seconds[window.start : window.stop]:
            raise UserError(
                f"{clip.source or 'the clip'} gives other frames when it is read from its middle "
                f"({len(clip)} instead of {len(window)}); convert it, or add --window off"
            )
        result = fit(clip, config, out=folder, records=records, resume=resume, progress=progress and crew.is_main)
        megabytes = peak_megabytes()
    if result.interrupted:
        return True
    source.conclude(number, clip, result, megabytes)
    expected = None if result.expectation is None else round(result.expectation.psnr, 2)
    seconds, megabytes = round(result.seconds, 3), round(megabytes, 1)
    told = {"steps": result.steps, "seconds": seconds, "expected_psnr": expected, "peak_megabytes": megabytes}
    mark_fitted(folder, told)
    return False
