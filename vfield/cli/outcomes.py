"""What came of a fit: judged, summed up, and told to people or scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfield.cli.options import INTERRUPTED
from vfield.cli.says import say
from vfield.cli.sources import SOURCE_OPTIONS, Seen, Source
from vfield.core.metrics import Scores
from vfield.field.checkpoint import FIELD_NAME, SavedField
from vfield.learn import Config, FitResult
from vfield.measure.evaluation import judge_held_out
from vfield.show.pictures import pictures
from vfield.show.summary import PAGE_NAME, summed_up, write_summary


@dataclass(frozen=True)
class Fitted:
    """What a fit gave for one clip.

    Attributes:
        name: of the clip.
        folder: where its field lies.
        result: of the fit.
        held_out: scores on frames that were held out; None where none were.
    """

    name: str
    folder: Path
    result: FitResult
    held_out: Scores | None


def conclude(
    source: Source,
    clips: Mapping[str, Seen],
    config: Config,
    results: Mapping[str, FitResult],
    folder: Path,
    peak_megabytes: float,
) -> list[Fitted]:
    """Judge a fit on what was held out, and write the summary of each of its clips; nothing in other processes.

    Args:
        source: which clips were read.
        clips: what was read, by the clips' names.
        config: of the fit.
        results: of each clip.
        folder: of the run.
        peak_megabytes: most memory that reading and fitting took.
    """
    fitted = []
    for name, result in results.items():
        if not result.is_main:
            continue
        facts, unseen = clips[name].observed.facts, clips[name].held_out
        saved, device = SavedField(result.field, facts, result.expectation), result.field.device
        # Before judging, which makes the field forget what TensorBoard's last pictures have left ready.
        rows = pictures(saved, device)
        scores = None if unseen is None else judge_held_out(result.field, unseen)
        place = folder if len(results) == 1 else folder / name
        summary = summed_up(result, facts, config, part_of(source), held_out=scores, peak_megabytes=peak_megabytes)
        write_summary(place, summary, rows)
        fitted.append(Fitted(name, place, result, scores))
    return fitted


def exit_code(results: Mapping[str, FitResult]) -> int:
    """How a command ends that has fitted: 0, or as after any Ctrl-C."""
    return INTERRUPTED if any(result.interrupted for result in results.values()) else 0


def part_of(source: Source) -> dict[str, Any]:
    """Which part of which file a source is, by the names of the options."""
    return {option: getattr(source, option) for option in SOURCE_OPTIONS if option != "video"}


def report(fitted: Sequence[Fitted], run_folder: Path, go_on: str) -> None:
    """Say what was reached and what to do with it; nothing in processes other than the first.

    Args:
        fitted: what came of it.
        run_folder: where it is kept.
        go_on: how to go on with a fit that was stopped.
    """
    if not fitted:
        return
    ask = "--scale 2 -o large.png" if len(fitted[0].result.field.timeline.t) == 1 else "--slowmo 4 -o slow.mp4"
    lines = [
        *told(fitted, run_folder),
        *([f"go on:  {go_on}"] if fitted[0].result.interrupted else []),
        f"watch:  tensorboard --logdir {run_folder}",
        f"look:   {fitted[0].folder / PAGE_NAME}",
        f"export: vfield render {fitted[0].folder} {ask}",
    ]
    say("\n".join(lines), {"run": run_folder, **figures(fitted)})


def told(fitted: Sequence[Fitted], run_folder: Path) -> list[str]:
    """What was reached, in lines."""
    first = fitted[0].result
    ended = "stopped" if first.interrupted else "done"
    where = run_folder / FIELD_NAME if len(fitted) == 1 else f"{len(fitted)} clips in {run_folder}"
    lines = [f"{ended} after {first.steps} steps and {first.seconds:.0f} s: {where}"]
    for clip in fitted:
        prefix = f"{clip.name}: " if len(fitted) > 1 else ""
        if clip.result.expectation is not None:
            lines.append(f"{prefix}expected on frames never seen: PSNR {clip.result.expectation}")
        if clip.held_out is not None:
            scores = clip.held_out
            reached = f"PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.4f} over {scores.frames} frames"
            lines.append(f"{prefix}frames never seen: {reached}")
    return lines


def figures(fitted: Sequence[Fitted]) -> dict[str, Any]:
    """What was reached, for scripts."""
    clips = []
    for clip in fitted:
        expected = None if clip.result.expectation is None else clip.result.expectation.psnr
        clips.append({"name": clip.name, "folder": clip.folder, "expected_psnr": expected, "held_out": clip.held_out})
    first = fitted[0].result
    return {"steps": first.steps, "seconds": first.seconds, "interrupted": first.interrupted, "clips": clips}
