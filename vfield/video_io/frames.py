"""Frames of a file by number: any frame, exactly, forward and backward, in bounded memory.

A file is decoded from the key frame before what is asked for. Frames that were decoded last are kept, and where frames
are asked for in order the next ones are decoded ahead, in a thread. Which frame is which is told by its time. Where a
file gives other times when it is entered in its middle (no index, joined recordings, raw streams), it is read from its
beginning and counted: slower, and still exact.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Literal

import torch
from torch import Tensor

from vfield.core.clip import ClipFacts
from vfield.core.errors import UserError
from vfield.core.frames import Frames, MadeFrames
from vfield.video_io.reading import FilePart, Reading, opened
from vfield.video_io.rgb import Picture

_KEPT_BYTES = 48 << 20
_LEAST_KEPT = 4  # frames, however large
_NEAR = 48  # frames that are decoded and passed over rather than looked for anew
_SMALL_SIDE = 64  # of frames that are decoded for their times alone
_AHEAD = 3  # frames that are decoded before they are asked for

Plane = Literal["rgb", "alpha", "grey"]


class FileFrames:
    """The frames of a part of a file by number; see `rgb` and `alpha`. Safe to ask from several threads.

    Attributes:
        part: of the file.
        is_kept: whether the file is no source but was written for a field, to go where that goes.
        pts_seconds: when each frame is shown.
        origin: the file's first timestamp, seconds.
        rgb: (n, 3, h, w), uint8, or float32 in [0, 1] for sources beyond 8 bits, as they look over black.
        alpha: (n, h, w) of the same type; None where the clip is opaque.
    """

    def __init__(
        self,
        part: FilePart,
        facts: ClipFacts,
        origin: Fraction,
        *,
        digest: str | None = None,
        kept_bytes: int = _KEPT_BYTES,
        is_kept: bool = False,
    ) -> None:
        """Hold what is known of the part; nothing is opened yet.

        `facts` are those that `read_clip` would give, `digest` is the file's SHA-256 where it is known, `kept_bytes`
        bounds the memory for decoded frames.
        """
        self.part, self.pts_seconds, self.origin, self.is_kept = part, facts.pts_seconds, origin, is_kept
        self._facts = facts
        dtype = torch.uint8 if facts.color.bit_depth == 8 else torch.float32
        count, height, width = shape = len(self.pts_seconds), facts.height, facts.width
        self.rgb = MadeFrames((count, 3, height, width), dtype, self._kept_rgb)
        self.alpha = MadeFrames(shape, dtype, self._kept_alpha) if facts.has_alpha else None
        self._planes: dict[Plane, MadeFrames] = {"rgb": self.rgb, "grey": MadeFrames(shape, dtype, self._kept_grey)}
        if self.alpha is not None:
            self._planes["alpha"] = self.alpha
        frame_bytes = (3 + facts.has_alpha) * height * width * dtype.itemsize
        self._digest = digest
        self._held = _held(part.path)
        self._room = max(_LEAST_KEPT, kept_bytes // frame_bytes)
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._lock = RLock()
        self._reading: Iterator[tuple[Picture, Fraction, Fraction]] | None = None
        self._open = ExitStack()
        self._next = 0  # number of the frame that the open reading gives next
        self._counts_from_beginning = False
        self._last_asked = -2
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._under_way: Future[None] | None = None

    def _kept_rgb(self, number: int) -> Tensor:
        return torch.from_numpy(self._picture(number).rgb)

    def _kept_alpha(self, number: int) -> Tensor:
        picture = self._picture(number)
        return torch.from_numpy(picture.opaque() if picture.alpha is None else picture.alpha)

    def _kept_grey(self, number: int) -> Tensor:
        return self._kept_rgb(number)[0]

    def _picture(self, number: int) -> Picture:
        with self._lock:
            found = self._found(number)
            in_order, self._last_asked = number in (self._last_asked, self._last_asked + 1), number
            idle = self._under_way is None or self._under_way.done()
            if in_order and idle and number + 1 < len(self.pts_seconds):
                self._under_way = self._ahead.submit(self._decode_ahead, number)
        return found

    def _decode_ahead(self, number: int) -> None:
        """Decode the next frames. What fails here fails again, and is told, when the frame itself is asked for."""
        for ahead in range(number + 1, min(number + 1 + _AHEAD, len(self.pts_seconds), number + self._room - 1)):
            with self._lock:
                if self._last_asked > ahead or self._last_asked < number:
                    return
                try:
                    self._found(ahead)
                except UserError:
                    return

    def _found(self, number: int) -> Picture:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        near = _NEAR if not self._counts_from_beginning else len(self.pts_seconds)
        if self._reading is None or not self._next <= number <= self._next + near:
            # Who goes backward will ask for the frames before this one next.
            going_back = self._last_asked - self._room < number < self._last_asked
            self._enter(max(0, number - (self._room // 2 if going_back else 0)))
        while (found := self._step()) < number:
            pass
        if found > number:
            # The file gave other frames than when it was looked through: entered in the middle, it tells other times.
            if self._counts_from_beginning:
                raise self._changed()
            self._counts_from_beginning = True
            self._enter(0)
            while self._step() < number:
                pass
        return self._kept[number]

    def _step(self) -> int:
        """Decode one frame and keep it; its number, or one beyond all where it is none that was seen before."""
        assert self._reading is not None
        number, beyond = self._next, len(self.pts_seconds)
        try:
            picture, pts, _ = next(self._reading)
        except (StopIteration, UserError) as error:
            # Entered in its middle, a file may give nothing at all.
            self._reading = None
            if self._counts_from_beginning:
                raise error if isinstance(error, UserError) else self._changed() from None
            return beyond
        if number >= beyond or not (self._counts_from_beginning or self.pts_seconds[number] == pts):
            self._reading = None
            return beyond
        self._next = number + 1
        self._kept[number] = picture.contiguous()
        self._kept.move_to_end(number)
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)
        return number

    def _enter(self, number: int) -> None:
        """Begin to read with a frame, or with the first where the file must be counted through."""
        self._check_unchanged()
        if self._counts_from_beginning:
            number = 0
        reading = self._opened(number)
        self._next = self._certain(number, reading.moved_seconds)
        if self._next < number:
            reading = self._opened(self._next)
        self._reading = reading.pictures()

    def _opened(self, number: int) -> Reading:
        """The file, about to give a frame and those after it, all as large as the part's first."""
        self._open.close()
        self._open = ExitStack()
        start = self.part.start_seconds if number == 0 else self.pts_seconds[number] - self.origin
        part = self.part._replace(start_seconds=start, size=(self._facts.height, self._facts.width))
        return self._open.enter_context(opened(part, self.origin))

    def _certain(self, number: int, moved_seconds: Fraction) -> int:
        """The last frame up to one that its time tells apart from the others."""
        # Of several with one time the file has moved all but the first; whoever seeks that time may meet any of them.
        while number > 0:
            around = self.pts_seconds[number - 1 : number + 2]
            if all(after - before != moved_seconds for before, after in pairwise(around)):
                break
            number -= 1
        return number

    def _check_unchanged(self) -> None:
        """Refuse a file that was written anew since it was looked through."""
        held = _held(self.part.path)
        if held in (self._held, None):
            return  # what is gone is told of by whoever opens it
        if self._held is not None and (self._digest is None or digest_of(self.part.path) != self._digest):
            raise self._changed()
        self._held = held

    def _changed(self) -> UserError:
        return UserError(f"{self.part.path} gives other frames than when it was first read; fit it again")

    def plane(self, name: Plane) -> MadeFrames:
        """The frames by the name of what is read of them; "grey" is what all three colours are.

        Raises:
            ValueError: when there is none of that name.
        """
        if name not in self._planes:
            raise ValueError(f"{self.part.path} has no {name}")
        return self._planes[name]

    def plane_of(self, frames: MadeFrames) -> Plane:
        """The name of what is read of the file for these frames of it."""
        return next(name for name, plane in self._planes.items() if plane.maker == frames.maker)

    def digest(self) -> str:
        """SHA-256 of the file; taken once. A UserError when the file cannot be read."""
        if self._digest is None:
            self._digest = digest_of(self.part.path)
        return self._digest

    def moved(self, path: Path) -> FileFrames:
        """The same part in a file that was made for a field, and goes where that goes."""
        return FileFrames(self.part._replace(path=path), self._facts, self.origin, is_kept=True)

    def is_held_by(self, path: Path) -> bool:
        """Whether a file, too, holds the part: all its times, and its first and last frame as they are."""
        other = self.moved(path)
        try:
            with opened(other.part._replace(size=(self._facts.height, self._facts.width)), self.origin) as reading:
                times = tuple(pts for _, pts, _ in reading.pictures(_SMALL_SIDE))
            ends = (0, len(self.pts_seconds) - 1)
            return times == self.pts_seconds and all(torch.equal(self.rgb[at], other.rgb[at]) for at in ends)
        except UserError:
            return False
        finally:
            other.close()

    @staticmethod
    def of(frames: Frames) -> FileFrames | None:
        """The file that frames are read from; None for frames that are made or held elsewhere."""
        maker = frames.maker if isinstance(frames, MadeFrames) else None
        reader = getattr(maker, "__self__", None)
        return reader if isinstance(reader, FileFrames) else None

    def close(self) -> None:
        """Let go of the file and of all frames; it is opened again when frames are asked for."""
        with self._lock:
            self._last_asked = -2  # whoever decodes ahead gives up
            self._open.close()
            self._reading = None
            self._kept.clear()


def _held(path: Path) -> tuple[int, int] | None:
    """Size and time of change of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def digest_of(path: Path) -> str:
    """SHA-256 of what a file holds; a UserError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror}") from error
