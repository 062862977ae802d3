"""Which frames of which files a run learns from."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from torch import Tensor
from tqdm import tqdm

from vfield.core.clip import Clip, parse_size
from vfield.core.errors import UserError, told_with
from vfield.core.folders import LOCK_NAME
from vfield.core.json_files import read_json, record
from vfield.core.memory import check_memory
from vfield.core.printable import as_text
from vfield.core.ranges import Range
from vfield.learn.board import HeldOut
from vfield.learn.held_out import split
from vfield.learn.saves import SUMMARY_NAMES
from vfield.prepare.masks import with_mask
from vfield.prepare.opening import SCAN_NAME, open_clip
from vfield.prepare.scan import Scan
from vfield.video_io import Deinterlacing, digest_of, probe

RUN_NAME = "run.json"
_SCAN_SECONDS = 2.0  # after which it is shown how far a look through a clip is
# A fit takes at least so much for each pixel of a frame, however few there are: 650 of 2000x1500, measured.
_LEAST_FIT_BYTES = 500
_FRAGMENT = re.compile(r"(?P<path>.+)#t=(?P<start>\d+(\.\d+)?)?(,(?P<end>\d+(\.\d+)?))?")
# Names in a run folder that no clip may take.
_TAKEN = {"config.yaml", "field.safetensors", "resume.safetensors", "exports", "tensorboard"}
_TAKEN |= {RUN_NAME, SCAN_NAME, LOCK_NAME, *SUMMARY_NAMES}

# Options of a command that say what is learnt from; `--mask` is not one of every command's.
SOURCE_OPTIONS = ("video", "start", "end", "size", "holdout", "mask", "deinterlace")


class Seen(NamedTuple):
    """What a run learns from, and what it is judged on."""

    observed: Clip  # the frames to learn from
    held_out: HeldOut | None  # the others; None where all are learnt from
    # What a look through the observed frames has found; None where only the whole clip was looked through.
    scan: Scan | None = None
    kept: str | None = None  # what a look through the clip has found, to be kept with the run


@dataclass(frozen=True)
class Source:
    """Which frames of which file a run learns from: kept with the run, so that resuming needs no repeating."""

    # Path of the clip, or of several. "clip.mp4#t=2,5.5" is the part from 2 to 5.5 seconds (as in W3C Media Fragments).
    video: str | list[str]
    start: Annotated[float | None, Range(0, 10**9)] = None  # seconds into the clip; None for its beginning
    end: Annotated[float | None, Range(0, 10**9)] = None  # seconds into the clip to stop before; None for its end
    size: str | None = None  # "WIDTHxHEIGHT" to reduce the frames to; None keeps theirs
    # Learn from every k-th frame and judge on the others; None learns from all.
    holdout: Annotated[int | None, Range(2, 10**6)] = None
    mask: str | None = None  # path of what marks what is not to be believed; None believes everything
    deinterlace: Deinterlacing | None = None  # "frame" or "field" makes progressive frames of interlaced ones first
    adapted: str | None = None  # path of the run whose shared parts were taken over; None where it learnt its own
    digest: str | None = None  # of one clip and its mask, by which they are known again; None for not taken

    def with_digest(self) -> Source:
        """The same with the digest of its files taken; several clips have none."""
        if not isinstance(self.video, str):
            return self
        sha = hashlib.sha256()
        for path in filter(None, (self.part(self.video)[0], self.mask)):
            sha.update(bytes.fromhex(digest_of(Path(path))))
        return replace(self, digest=sha.hexdigest())

    def read(self, folder: Path | None = None) -> Seen:
        """Look through the one clip, and at what its mask leaves; `folder` of the run may hold an earlier look."""
        if self.mask is not None and self.holdout is not None:
            raise UserError("--mask and --holdout cannot go together: what is hidden of held-out frames has no truth")
        assert isinstance(self.video, str)
        path, start, end = self.part(self.video)
        size = None if self.size is None else parse_size(self.size)
        info = probe(path)
        height, width = size or (info.height, info.width)
        if height > info.height or width > info.width:
            raise UserError(
                f"--size {self.size} is larger than the clip's {info.width}x{info.height}: fit at its own size and "
                "enlarge in the export"
            )
        advice = f"take a smaller --size than {width}x{height}"
        check_memory(height * width * _LEAST_FIT_BYTES, f"to fit {path}, of {width}x{height},", advice)
        clip, scan, kept = open_clip(
            path,
            start_seconds=start,
            end_seconds=end,
            size=size,
            deinterlace=self.deinterlace,
            kept=None if folder is None else folder / SCAN_NAME,
            progress=lambda batches: _shown(batches, info.frame_count),
        )
        if self.mask is not None:
            clip = with_mask(clip, self.mask, start_seconds=start, end_seconds=end)
        if self.holdout is None:
            return Seen(clip, None, scan, kept)
        parts = split(clip, self.holdout)
        return Seen(parts.observed, parts.held_out, kept=kept)

    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the one clip's frames as they will be read, which the file says before that."""
        assert isinstance(self.video, str)
        if self.size is not None:
            return parse_size(self.size)
        info = probe(self.part(self.video)[0])
        return info.height, info.width

    def read_all(self, folder: Path | None = None) -> dict[str, Seen]:
        """As `read`, of each clip of a run, by its name there."""
        videos = [self.video] if isinstance(self.video, str) else self.video
        if self.mask is not None and len(videos) > 1:
            raise UserError(f"--mask is for one clip, got {len(videos)}; fit the masked clip alone, or adapt to it")
        names = _numbered([as_text(file_of(video).stem) for video in videos], _TAKEN)
        kept = folder if len(videos) == 1 else None
        return {name: replace(self, video=video).read(kept) for name, video in zip(names, videos, strict=True)}

    def part(self, video: str) -> tuple[str, float | None, float | None]:
        """A file, and from when to when it is read; a UserError when that is said twice."""
        path, start, end = video, self.start, self.end
        found = _FRAGMENT.fullmatch(video)
        if found is not None and not Path(video).exists():
            if start is not None or end is not None:
                raise UserError(f"{video} names its own part; leave out --start and --end")
            start, end = (None if found[name] is None else float(found[name]) for name in ("start", "end"))
            path = found["path"]
        return path, start, end

    def text(self) -> str:
        """The source as it is kept with a run."""
        return json.dumps(asdict(self), indent=1)


def _shown(batches: Iterator[Tensor], frames: int | None) -> Iterator[Tensor]:
    """The frames that a clip is looked through by, in a progress display; none for what takes no time."""
    with tqdm(total=frames, desc="scan", unit="frame", delay=_SCAN_SECONDS, leave=False) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def source_of(given: Mapping[str, Any], adapted: str | None = None) -> Source:
    """The source that the options of a command name, of which those that are not there say nothing."""
    named: dict[str, Any] = {name: given.get(name) for name in SOURCE_OPTIONS}
    return Source(**named, adapted=adapted)


def recorded_source(folder: Path) -> Source:
    """The source that was kept with a run; a UserError when its record is damaged."""
    with told_with(f"{folder / RUN_NAME} is damaged (", "); start anew with --overwrite"):
        return record(Source, read_json(folder / RUN_NAME, "record"), RUN_NAME)


def names_apart(videos: Sequence[str]) -> list[str]:
    """A name for each clip that is fitted on its own: clips of one name are told apart by their suffixes, a-mov, a-mp4.

    So a clip's name does not depend on the order, and numbers are only for those that suffixes do not tell apart.
    """
    files = [Path(as_text(str(file_of(video)))) for video in videos]
    count = Counter(file.stem.casefold() for file in files)
    wished = [f.stem if count[f.stem.casefold()] == 1 else f"{f.stem}-{f.suffix.removeprefix('.')}" for f in files]
    return _numbered(wished, set())


def file_of(video: str) -> Path:
    """The file of which "clip.mp4#t=2,5.5" is a part."""
    found = _FRAGMENT.fullmatch(video)
    return Path(video if found is None or Path(video).exists() else found["path"])


def _numbered(wished: Sequence[str], taken: Set[str]) -> list[str]:
    """Different names, also where case does not count: a number after those that are taken."""
    names: list[str] = []
    for stem in wished:
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken = {*taken, name.casefold()}
        names.append(name)
    return names
