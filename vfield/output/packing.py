"""A run that stands alone: the clip that its field reads, or the part of it that is used, put into the run's folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal

from vfield.core.devices import is_main_process
from vfield.core.errors import UserError
from vfield.core.folders import held, remove, replaced
from vfield.core.frames import Frames, MadeFrames, chosen_frames
from vfield.field.checkpoint import FIELD_NAME, PACKED_STEM, SavedField, clip_folders, keyframes_of, load_field, repack
from vfield.learn.kept import remove_unused
from vfield.output.config import ExportConfig
from vfield.output.export import export
from vfield.prepare.opening import open_clip
from vfield.video_io import FileFrames, cut_packets, has_audio

_CODEC = "av1"

Packing = Literal["copy"] | int
"""How a clip is packed: as it is, or coded anew at that constant quality."""


def pack(run: str | Path, crf: int | None = None) -> list[Path]:
    """Put the clips of a run into its folder, and have its fields read them there.

    A UserError when a clip is gone, was made in memory, or has alpha and is to be coded; or when the folder cannot be
    written to. What lay in the folder before stays as it is.

    Args:
        run: its folder; of several clips each goes beside its own field.
        crf: None copies the source as it is: its packets from the key frame before the part that is used to the part's
            end, or the whole file where all of it is used or its container cannot be cut. A number codes the frames
            anew (AV1) at that constant quality: smaller, and no longer exact.

    Returns:
        The files that were written.
    """
    return [_packed(folder, crf) for folder in clip_folders(Path(run)) or [Path(run)]]


def pack_if_asked(run: Path, packing: Packing | None) -> list[Path]:
    """As `pack`, in the main process, while the run is held; nothing where packing is None."""
    if packing is None or not is_main_process():
        return []
    with held(run):
        return pack(run, None if packing == "copy" else packing)


def _packed(folder: Path, crf: int | None) -> Path:
    saved = load_field(folder)
    if not saved.facts.source:
        raise UserError(f"the clip of {folder} was made in memory: its frames are in the folder, and there is no more")
    source = Path(saved.facts.source)
    if not source.is_file():
        raise UserError(f"{source}, the clip of {folder}, is not there, so that it cannot be packed")
    path, frames = _copied(saved, folder, source) if crf is None else _coded(saved, folder, crf)
    remove_unused(folder, frames, str(path))
    return path


def _copied(saved: SavedField, folder: Path, source: Path) -> tuple[Path, Frames]:
    """The file, and the frames that the field reads from then on."""
    path = _place(folder, source.suffix.lower())
    if path.exists() and path.samefile(source):
        return path, saved.field.frames
    facts, reader = saved.facts, FileFrames.of(saved.field.frames)
    with replaced(path) as partial:
        if (
            reader is None
            or reader.is_kept
            or reader.part.start_seconds is reader.part.end_seconds is None
            or not cut_packets(source, partial, facts.pts_seconds[0], facts.end_seconds)
            or not reader.is_held_by(partial)
        ):
            shutil.copyfile(source, partial)
    frames, alpha = (_moved(frames, path) for frames in (saved.field.frames, saved.field.alpha))
    repack(folder / FIELD_NAME, replace(facts, source=str(path)), frames, alpha)
    return path, saved.field.frames if frames is None else frames


def _moved(frames: Frames | None, path: Path) -> Frames | None:
    """The same frames in another file; None for those that are not read from the source."""
    reader = None if frames is None else FileFrames.of(frames)
    if reader is None or reader.is_kept or not isinstance(frames, MadeFrames):
        return None
    return chosen_frames(reader.moved(path).plane(reader.plane_of(frames)), frames.numbers)


def _coded(saved: SavedField, folder: Path, crf: int) -> tuple[Path, Frames]:
    facts, field = saved.facts, saved.field
    if field.colours is None or field.config.local.keyframe_stride > 1:
        raise UserError(f"the field of {folder} does not show all frames of its clip, to be coded; pack it as it is")
    if facts.has_alpha:
        raise UserError(f"the clip of {folder} has alpha, which {_CODEC} cannot hold; pack it as it is")
    # What was packed before may be what is read now.
    path = next(path for path in (_place(folder, f".{number}.mp4") for number in count(1)) if not path.exists())
    as_is = ExportConfig(
        fps="source", codec=_CODEC, crf=crf, audio="copy" if has_audio(str(facts.source)) else "drop", overwrite=True
    )
    export(saved, path, as_is, progress=False)
    # The file begins with the part that is used.
    begin = facts.pts_seconds[0]
    times = tuple(pts - begin for pts in facts.pts_seconds)
    clip = open_clip(path).clip
    if clip.pts_seconds != times:
        remove(path)
        raise UserError(f"{path} does not hold the times of the clip; pack it as it is")
    facts = replace(facts, pts_seconds=times, end_seconds=facts.end_seconds - begin, source=str(path))
    reader = FileFrames.of(clip.frames)
    assert reader is not None
    frames = chosen_frames(reader.moved(path).rgb, keyframes_of(field, saved.facts))
    repack(folder / FIELD_NAME, facts, frames, None)
    return path, frames


def _place(folder: Path, suffix: str) -> Path:
    return folder.absolute() / f"{PACKED_STEM}{suffix[1:]}"
