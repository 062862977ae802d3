"""One clip of a run: its field, what that learns from, and what is shown of it.

A run may have several. Then they share what is learnt and has no clip in it (`VideoField.shared_parts`), and each has
codes of its own, all optimised together: an autodecoder,

    min over theta and z_1 ... z_n of    sum over i of L(field(theta, z_i), clip i)

with the decoder and the Fourier matrix, or the visibility and the encoder of detail, in theta, and a clip's global
code, track and local latents in z_i. A new clip is fitted with theta held: z = argmin L(field(theta, z), clip). (Park
et al., "DeepSDF", CVPR 2019, equations 9 and 10, without their prior on the codes; Bojanowski et al. 2018. Sitzmann et
al., "MetaSDF", 2020, learn how to learn the codes in a few steps instead.)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from vfield.core.clip import Clip
from vfield.core.coords import keyframe_t
from vfield.core.frames import Frames
from vfield.field.conditioning import running_statistics
from vfield.field.expectation import Expectation
from vfield.field.video_field import VideoField
from vfield.learn.board import Board
from vfield.learn.config import Config
from vfield.learn.objective import Objective
from vfield.learn.rehearsal import squared_errors
from vfield.learn.sampling import PatchSampler
from vfield.learn.start import start_field
from vfield.prepare.config import DenoiseConfig
from vfield.prepare.denoise import Keep, denoise, keep_in_memory
from vfield.prepare.fill import fill
from vfield.prepare.scan import Scan, scan_frames

_LOG = logging.getLogger("vfield")
_LEAST_UNIT = 0.5 / 255  # of errors that are judged relative to the start's: frames of bytes are no more exact


class Member:
    """One clip of a run.

    Attributes:
        name: of the clip in the run; empty where it is the only one.
        facts: of the clip as it was given.
        clip: the clip without its noise.
        seen: the part of it to learn from.
        field: its field.
        rehearsal: None where no frame can be hidden.
        enlarging: None where no detail is to be learnt.
        sampler: what it learns from next.
        board: None where nothing is shown.
        expectation: what the field expects of itself in the end; None where it cannot tell.
        start_errors: mean squared errors of the start at hidden frames, of a piece that teaches; None of what does not.
        unit: their root, where errors count relative to it; None where not.
    """

    def __init__(
        self,
        name: str,
        clip: Clip,
        config: Config,
        *,
        scan: Scan | None = None,
        keep: Keep = keep_in_memory,
        seed: int,
        like: VideoField | None,
        says: bool,
        shows: bool,
    ) -> None:
        """Clean the clip and start its field.

        Args:
            name: of the clip.
            clip: the observed frames.
            scan: what a look through them has found; None looks when it is needed.
            keep: takes frames that were changed before they are learnt from, and gives them by number.
            config: of the run.
            seed: of the field's random start.
            like: a field whose shared parts to use; None for parts of its own.
            says: write to the log what was found.
            shows: show progress bars.
        """
        self.name = name
        self._config = config
        self._prefix = f"{name}: " if name else ""
        clip = config.without_what_is_lost(clip, self._prefix, says)
        self.facts = clip.facts
        self._says, self._shows = says, shows
        self.board: Board | None = None
        self.expectation: Expectation | None = None
        filled = self._filled(clip, keep)
        # What was found of the clip as it is does not hold for what is made of it.
        scan = scan if scan is not None and filled is clip else scan_frames(filled.frames)
        self.clip = self._denoised(filled, config.denoising, scan, keep)
        scan = scan if self.clip is filled else scan_frames(self.clip.frames)
        learns = config.training.steps != 0 or like is not None or config.has_prior
        self.field, self.rehearsal, self.enlarging, self.seen = start_field(
            *(self.clip, config.field, config.flow, seed, self._follow),
            rehearse=learns,
            like=like,
            prior=config.has_prior,
            piece=config.teaching.pieces > 0,
            scan=scan,
        )
        if len(self.seen) < len(clip):
            left_out = len(clip) - len(self.seen)
            self.say("%d of %d frames repeat the one before; motion runs past them", left_out, len(clip))
        self.sampler = self._sampler(checked=False)
        self.start_errors: Tensor | None = None
        self.unit: float | None = None
        if config.teaching.pieces and self.rehearsal is not None:
            # Many clips teach one thing: each counts by what it gains, not by how hard it is.
            self.start_errors = squared_errors(self.rehearsal, self.rehearsal.hidden)
            self.unit = max(float(self.start_errors.mean().sqrt()), _LEAST_UNIT)

    def say(self, message: str, *values: object, level: int = logging.INFO) -> None:
        """Write a line to the log, once for all processes, that names the clip."""
        if self._says:
            _LOG.log(level, f"%s{message}", self._prefix, *values)

    def _filled(self, clip: Clip, keep: Keep) -> Clip:
        if clip.visible is None:
            return clip
        field = self._config.field
        filled = fill(
            clip,
            lambda steps, total: tqdm(steps, total=total, desc="fill", disable=not self._shows, leave=False),
            rough=not (field.has_local and (field.local.colours or field.motion.enabled)),
            keep=keep,
        )
        self.say("%.1f %% of the pixels are hidden", 100 * float((~clip.visible).float().mean()))
        return filled

    def _denoised(self, clip: Clip, config: DenoiseConfig, scan: Scan, keep: Keep) -> Clip:
        denoised = denoise(
            clip,
            config,
            lambda steps, total: tqdm(steps, total=total, desc="denoise", disable=not self._shows, leave=False),
            scan=scan,
            keep=keep,
        )
        if config.strength != 0:
            self.say("%s", denoised)
        return denoised.clip

    def _follow(self, places: Iterable[Any], total: int) -> Iterable[Any]:
        return tqdm(places, total=total, desc="prepare", unit="place", disable=not self._shows, leave=False)

    def _sampler(self, checked: bool) -> PatchSampler:
        # What shows its keyframes' own colours has nothing to learn from frames as they are.
        observed = None if self.field.colours is not None else self.seen.frames
        small: Frames = self.seen.frames
        small_visible, learning = self.seen.visible, list[int]()
        if self.rehearsal is not None:
            small, small_visible, learning = self.rehearsal.frames, self.rehearsal.visible, self.rehearsal.learning
            if checked:
                learning = learning + self.rehearsal.checking
        t = keyframe_t(self.seen.pts_seconds)
        sampling, seed = self._config.sampling, self._config.training.seed
        return PatchSampler(observed, t, small, learning, sampling, seed, self.seen.visible, small_visible)

    def learn_from_all(self) -> None:
        """From now on learn from the frames, too, that were kept for checking."""
        self.sampler = self._sampler(checked=True)

    def end_learning(self) -> None:
        """Let go of what was only to be learnt from."""
        self.enlarging = None
        if self.rehearsal is not None and self.rehearsal.field.colours is not None:
            self.rehearsal.field.colours.forget()

    def objective(self) -> Objective:
        """What its field minimises."""
        twin = None if self.rehearsal is None else self.rehearsal.field
        return Objective(self.field, twin, self._config.objective, self.unit)

    def cache(self, most_bytes: int) -> None:
        """Bound the memory for colours of every hidden keyframe, which are read again at each step."""
        if self.rehearsal is not None and self.rehearsal.field.colours is not None:
            self.rehearsal.field.colours.cache_bytes = most_bytes

    def is_finite(self) -> bool:
        """Whether everything learnt is a number."""
        return all(bool(parameter.isfinite().all()) for parameter in self.field.parameters())


def shared_parameters(field: VideoField) -> list[nn.Parameter]:
    """What all clips of a run learn together."""
    return [parameter for part in field.shared_parts().values() for parameter in part.parameters()]


def own_parameters(field: VideoField) -> list[nn.Parameter]:
    """What is a clip's own."""
    shared = {id(parameter) for parameter in shared_parameters(field)}
    return [parameter for parameter in field.parameters() if id(parameter) not in shared]


def learnt(members: Iterable[Member]) -> dict[str, Tensor]:
    """Every learnt value once, by a name that tells the clip, unless there is just one."""
    found: dict[int, tuple[str, Tensor]] = {}
    for member in members:
        values = dict(member.field.named_parameters()) | running_statistics(member.field)
        for name, value in values.items():
            found.setdefault(id(value), (f"{member.name}/{name}" if member.name else name, value))
    return dict(found.values())
