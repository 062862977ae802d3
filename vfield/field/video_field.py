"""The field: a continuous function c(u, v, t) -> RGB, composed of its parts.

A field with keyframe colours reads its clip's own frames, where the motion says that a point is in them:

    match     = motion(u, v, t)                         where the point is in the keyframes on both sides
    colour    = sum of share * view                     the keyframes' colours there; shares by nearness, visibility
    alpha     = sum of share * view                     the keyframes' alpha, likewise, where the clip has some

At an observed instant it shows its own frame, exactly. A field without them, as in the textbooks, makes everything:

    colour    = 1/2 + decode(fourier(uvt), local latents | global latent)

What a field holds is what was learnt. Frames and motion are asked for by number, and whoever gives them may read or
find them only then: a tensor, or a file (`vfield.video_io`); curves found before, or when asked for
(`vfield.field.tracks`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vfield.core.coords import Footprint
from vfield.core.errors import UserError
from vfield.core.frames import Frames, as_planes
from vfield.field.config import FieldConfig
from vfield.field.decoder import Decoder
from vfield.field.detail import Alignment, Detail, align, gather, neighbours
from vfield.field.encoder import EncodedGlobal, EncodedGrids, Predicted
from vfield.field.following import Followed, follow
from vfield.field.fourier import FourierFeatures
from vfield.field.latents import ColourKeyframes, Finer, GlobalLatent, LatentGrids
from vfield.field.motion import GapCurves, MotionField, Visibility
from vfield.field.reads import Read, blended, joined, view_shares
from vfield.field.timeline import Segment, Timeline

_ROUNDING = 1e-6  # of footprints, in pixels


class Inspection(NamedTuple):
    """What the field thinks happens at some points.

    Attributes:
        velocity: (n, 2) x and y, source pixels per second.
        right_share: (n,) share of the later keyframe in the colour, 0 to 1.
    """

    velocity: Tensor
    right_share: Tensor


class VideoField(nn.Module):
    """(n, 3) uvt -> (n, 3) rgb. Points are independent: any split into calls gives the same values."""

    _anchor: Tensor

    def __init__(
        self,
        config: FieldConfig,
        *,
        keyframes: Frames,
        t: Tensor,
        shots: Sequence[range],
        duration_seconds: float,
        curves: GapCurves | None,
        generator: torch.Generator,
        alpha: Frames | None = None,
    ) -> None:
        """Build a field at its start.

        Args:
            config: its parts.
            keyframes: k frames of (3, h, w), uint8 or float in [0, 1].
            t: (k,) their instants, float32 seconds since the clip's first frame.
            shots: runs of keyframes between cuts.
            duration_seconds: length of the clip.
            curves: starting curves of every gap, in the order of `timeline.gaps_between`; None without motion.
            generator: source of the random starting values.
            alpha: k planes of (h, w), the keyframes' alpha, by which their colours are multiplied, of their type;
                None where all is opaque. Used only where colours are.
        """
        super().__init__()
        self.config = config
        self.size = (int(keyframes.shape[-2]), int(keyframes.shape[-1]))
        self.timeline = Timeline(t, shots)
        self.hidden_rows: dict[int, int] = {}
        self._rehearses = False
        # Where the field lies, and in which precision it answers: a buffer that moves with it.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self.frames = keyframes
        self.colours = ColourKeyframes(keyframes) if config.local.colours else None
        # A part of its own: asking for colours alone costs the same, and learns the same, as without alpha.
        self.alpha = alpha if self.colours is not None else None
        self.opacity = None if self.alpha is None else ColourKeyframes(as_planes(self.alpha))
        with_motion = config.motion.enabled and config.has_local
        if with_motion and curves is None:
            raise UserError("motion.enabled needs starting curves, got none")
        self.motion = MotionField(config.motion, curves, *self.size) if with_motion and curves is not None else None
        see = with_motion and config.motion.visibility and config.local.colours
        self.visibility = Visibility(*self.size) if see else None
        self.detail = Detail(config.detail) if config.detail.enabled and config.local.colours else None
        self.fourier: FourierFeatures | None = None
        self.shared: GlobalLatent | None = None
        self.latents: LatentGrids | None = None
        self.decoder: Decoder | None = None
        if self.colours is None:
            self._add_decoder(keyframes, duration_seconds, generator)

    def _add_decoder(self, keyframes: Frames, duration_seconds: float, generator: torch.Generator) -> None:
        """The parts of a field that makes everything itself: features of position, latents, and their decoder."""
        config, t = self.config, self.timeline.t
        self.fourier = FourierFeatures(config.fourier, duration_seconds, generator)
        self.shared = GlobalLatent(config.shared, duration_seconds, generator) if config.shared.enabled else None
        self.latents = LatentGrids(config.local, len(t), *self.size, generator) if config.local.levels else None
        self.decoder = Decoder(
            config.decoder,
            self.fourier.width,
            self.shared.width if self.shared else 0,
            3,
            self.latents.width if self.latents else 0,
        )
        if config.codes == "autoencoder":
            # After the parts above, whose random numbers must not depend on where codes come from.
            if self.shared is not None:
                self.shared = EncodedGlobal(config.shared, config.encoder, keyframes, t, duration_seconds, generator)
            if self.latents is not None:
                self.latents = EncodedGrids(config.local, config.encoder, keyframes, generator)

    @property
    def device(self) -> torch.device:
        """Where the field lies."""
        return self._anchor.device

    def shared_parts(self) -> dict[str, nn.Module]:
        """The parts, by name, that have learnt something which is of no one clip: other clips' fields may use them.

        A clip's own are its keyframes' colours and alpha, its motion, its local latents, its code and track, and its
        timeline.
        """
        parts = {name: getattr(self, name) for name in ("fourier", "visibility", "decoder", "detail")}
        return {name: part for name, part in parts.items() if part is not None}

    def adopt(self, other: VideoField) -> None:
        """Use another clip's shared parts in place of one's own: what is learnt in one field is in both.

        Args:
            other: a field of the same config, of a clip of any size, rate and length.

        Raises:
            UserError: when the fields are not of one config.
        """
        if self.config != other.config:
            raise UserError("fields that share what they learn must have one config, got two")
        if self.fourier is not None and other.fourier is not None:
            self.decoder = other.decoder
            self.fourier = other.fourier.for_duration(self.fourier.duration_seconds)
        if other.visibility is not None:
            self.visibility = other.visibility.resized(*self.size)
        if other.detail is not None:
            self.detail = other.detail.for_clip()

    def with_copied_parts(self) -> VideoField:
        """The same field, except that its shared parts are copies: what they learn leaves this one as it is."""
        twin = copy.copy(self)
        copies = {name: copy.deepcopy(part) for name, part in self.shared_parts().items()}
        twin._modules = {**self._modules, **copies}
        return twin

    def at_size(self, keyframes: Frames, curves: GapCurves | None) -> VideoField:
        """A field of the same clip at another size, with the same learnt parts: what is learnt in one is in both.

        It is for learning, and knows nothing of alpha.

        Args:
            keyframes: the same keyframes, of (3, h', w').
            curves: of every gap; None without motion.
        """
        twin = copy.copy(self)
        # A copy of the table of parts: the parts are shared, the two fields differ in which they hold.
        twin._modules = dict(self._modules)
        twin.size = (int(keyframes.shape[-2]), int(keyframes.shape[-1]))
        if self.colours is not None:
            twin.colours = ColourKeyframes(keyframes)
        twin.alpha = twin.opacity = None
        if self.motion is not None and curves is not None:
            twin.motion = MotionField(self.config.motion, curves, *twin.size)
        if self.visibility is not None:
            twin.visibility = self.visibility.resized(*twin.size)
        return twin

    def rehearsal(self, keyframes: Frames, curves: GapCurves | None, hidden: Sequence[int]) -> VideoField:
        """Like `at_size`, but the field can hide keyframes. Only `forward(..., hide=True)` may be asked of it.

        Args:
            keyframes: the same keyframes, of (3, h', w'); the hidden ones and their neighbours are enough.
            curves: across the hidden ones, number i for hidden[i]; None without motion.
            hidden: indices of keyframes that may be hidden.
        """
        twin = self.at_size(keyframes, curves)
        twin._rehearses = True
        twin.hidden_rows = {keyframe: row for row, keyframe in enumerate(hidden)}
        return twin

    def standalone(self) -> tuple[FieldConfig, dict[str, Tensor]]:
        """Config and values of a field that says the same with nothing more: predicted codes, without their encoder."""
        for part in self.modules():
            if isinstance(part, Predicted):
                part.predict()
        values = {name: value for name, value in self.state_dict().items() if ".encoder." not in name}
        return replace(self.config, codes="autodecoder"), values

    def forward(self, uvt: Tensor, footprint: Footprint | None = None, *, hide: bool = False) -> Tensor:
        """Ask for colours.

        Args:
            uvt: (n, 3) float32; u, v in the unit square, t in seconds since the clip's first frame. Instants outside
                the clip show its first or last frame.
            footprint: what each point averages over; None is one pixel of the source.
            hide: answer for instants of keyframes without looking at those keyframes, from their neighbours. Only
                a `rehearsal` can, for the keyframes it was given.

        Returns:
            (n, 3) RGB, about 0 to 1, not clamped; as it looks over black where the clip has alpha.

        Raises:
            UserError: when uvt has another shape, or an instant cannot be hidden.
        """
        return self._answer(uvt, footprint, hide)[0]

    def rgba(self, uvt: Tensor, footprint: Footprint | None = None) -> Tensor:
        """Ask for colours as `forward` does, and for alpha, at the same places and with the same shares.

        Args:
            uvt: as in `forward`.
            footprint: likewise.

        Returns:
            (n, 4) RGB multiplied by alpha, which is what `forward` gives, and alpha; about 0 to 1, not clamped. A field
            without alpha is opaque.

        Raises:
            UserError: as `forward`.
        """
        if self.opacity is None:
            rgb = self(uvt, footprint)
            return torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=-1)
        return torch.cat(self._answer(uvt, footprint, hide=False, opacity=True), dim=-1)

    def _answer(
        self, uvt: Tensor, footprint: Footprint | None, hide: bool, opacity: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Colours (n, 3), and alpha (n, 1) if it is asked for."""
        uvt = self._within(uvt)
        if len(uvt) == 0:
            return uvt.clone(), uvt[:, :1].clone()
        footprint = footprint or Footprint.of_size(*self.size)
        order, read = self._gather(uvt, footprint, hide, moving=False, opacity=opacity)
        rgb = read.colour
        if self.decoder is not None:
            rgb = self._decode(self.decoder, uvt if order is None else uvt[order], footprint, read.features)
        if order is None:
            return rgb, read.opacity
        rgb, alpha = (torch.empty_like(part).index_copy(0, order, part) for part in (rgb, read.opacity))
        return rgb, alpha

    def disagreement(self, uvt: Tensor, *, hide: bool = False) -> Tensor:
        """How the two keyframes around each point differ in colour where the motion says it is: (n, 3).

        Needs keyframe colours and motion. The order of the points is not kept. `hide` is as in `forward`.
        """
        uvt = self._within(uvt)
        if len(uvt) == 0:
            return uvt.clone()
        return self._gather(uvt, Footprint.of_size(*self.size), hide, moving=True)[1].disagreement

    def inspect(self, uvt: Tensor) -> Inspection:
        """Motion and visibility at points (n, 3)."""
        uvt = self._within(uvt)
        if len(uvt) == 0:
            return Inspection(uvt[:, :2], uvt[:, 2])
        order, read = self._gather(uvt, Footprint.of_size(*self.size), hide=False, moving=True)
        if order is None:
            return Inspection(read.velocity, read.weight)
        velocity = torch.empty_like(read.velocity).index_copy(0, order, read.velocity)
        return Inspection(velocity, torch.empty_like(read.weight).index_copy(0, order, read.weight))

    def follow(self, uv: Tensor, t_from: float, t_to: float) -> Followed:
        """Follow points from one instant to another, earlier or later, through any number of keyframes.

        Two positions are the same point where they match the same position in a keyframe, so that a followed point
        shows what it showed before. Where a keyframe is held nothing moves.

        Args:
            uv: (n, 2) float32 positions at t_from, in the unit square.
            t_from: seconds since the clip's first frame, held within the keyframes'.
            t_to: likewise.

        Raises:
            UserError: when the field has no motion.
        """
        if self.motion is None:
            raise UserError("this field has no motion: it was fitted with motion, or all that is local, switched off")
        return follow(self.motion, self.timeline, uv, t_from, t_to)

    def held(self, instants: Sequence[float]) -> list[float]:
        """The source frames' own instants, with the frames that motion runs past shown as they were: held.

        For showing the clip at its own times. A frame that repeats the one before is no keyframe; half-way between
        keyframes the field would move on.
        """
        if self.config.local.keyframe_stride > 1:
            return list(instants)
        asked = torch.tensor(instants, dtype=torch.float32)
        last = torch.searchsorted(self.timeline.t.cpu(), asked, right=True) - 1
        return [float(t) for t in self.timeline.t[last.clamp(min=0)]]

    def detail_evidence(self, keyframe: int) -> tuple[Tensor, Tensor]:
        """What the encoder of detail sees of a keyframe (c, h, w), and the spline that it adds to (3, 2 h, 2 w)."""
        assert self.colours is not None
        return gather(self.colours, keyframe, self._alignments(keyframe))

    def _finer(self, footprint: Footprint, between: bool) -> Finer | None:
        """The level at twice the keyframes' size, where the field has learnt to make one and it shows.

        It does in footprints narrower than a pixel. Between keyframes, whose pixels are then cut, also in those of one.
        Not in a rehearsal: its motion only runs across hidden keyframes, which their neighbours' detail would look at.
        """
        detail, colours = self.detail, self.colours
        narrowest = min(footprint.dv * self.size[0], footprint.du * self.size[1])
        if (
            detail is None
            or colours is None
            or self._rehearses
            or detail.is_mute
            or narrowest > 1 + (_ROUNDING if between else -_ROUNDING)
        ):
            return None
        return Finer(detail.version, lambda keyframe: detail.finer(colours, keyframe, self._alignments))

    def _alignments(self, keyframe: int) -> list[Alignment | None]:
        """Where a keyframe's neighbours show its points; None for those beyond a cut, or that motion does not join."""
        assert self.detail is not None
        shot = next(shot for shot in self.timeline.shots if keyframe in shot)
        return [
            align(self.follow, self.timeline.t, keyframe, other, self.size, self.device)
            if self.motion is not None and other in shot
            else None
            for other in neighbours(keyframe, self.detail.config.radius)
        ]

    def _within(self, uvt: Tensor) -> Tensor:
        """The points, checked, their instants held within the keyframes'."""
        if uvt.ndim != 2 or uvt.shape[-1] != 3:
            raise UserError(f"uvt must be (n, 3), got {tuple(uvt.shape)}; did you drop t?")
        first, last = self.timeline.t[0].item(), self.timeline.t[-1].item()
        return torch.cat([uvt[:, :2], uvt[:, 2:].clamp(first, last)], dim=-1)

    def _gather(
        self, uvt: Tensor, footprint: Footprint, hide: bool, moving: bool, opacity: bool = False
    ) -> tuple[Tensor | None, Read]:
        """Read the keyframes for all points, segment by segment; the order used, or None for the order given.

        Points at keyframes' own instants are read apart from those in between, which may read another level: what a
        point shows must not depend on what is asked along with it. `moving` asks for motion there too, where colours
        need none; `opacity` asks for alpha.
        """
        if self._rehearses and not hide:
            raise UserError("a rehearsal only answers for keyframes that are hidden")
        t = uvt[:, 2].contiguous()
        segments = self._hidden_keyframes(t) if hide else self.timeline.find(t)
        still = torch.zeros_like(segments) if hide or moving else self.timeline.at_start(segments, t).long()
        groups = 2 * segments + still
        values, counts = torch.unique_consecutive(groups, return_counts=True)
        order = None
        if len(values) > len(torch.unique(values)):
            order = torch.argsort(groups, stable=True)
            uvt = uvt[order]
            values, counts = torch.unique_consecutive(groups[order], return_counts=True)
        parts = []
        for value, points in zip(values.tolist(), uvt.split(counts.tolist()), strict=True):
            segment = self._segment(value // 2, hide)
            if (segment.gap is None or value % 2) and self.colours is not None:
                parts.append(self._read_still(points, footprint, segment, opacity))
            else:
                # Where only motion is asked for, no finer colours need be made.
                finer = None if moving else self._finer(footprint, between=segment.gap is not None)
                fraction = self.timeline.fraction(segment, points[:, 2])
                parts.append(self._read(points, fraction, footprint, segment, finer, opacity))
        return order, joined(parts)

    def _hidden_keyframes(self, t: Tensor) -> Tensor:
        """The keyframe at each instant."""
        times = self.timeline.t.to(t.device)
        return torch.searchsorted(times, t.contiguous(), right=True) - 1

    def _segment(self, value: int, hide: bool) -> Segment:
        if not hide:
            return self.timeline.segments[value]
        if value not in self.hidden_rows:
            raise UserError(f"the keyframe at {float(self.timeline.t[value]):g} s cannot be hidden")
        return Segment(float(self.timeline.t[value]), value - 1, value + 1, self.hidden_rows[value])

    def _read_still(self, uvt: Tensor, footprint: Footprint, segment: Segment, opacity: bool) -> Read:
        """Read the left keyframe in place: at its own instant nothing else counts."""
        assert self.colours is not None
        colour = self.colours(segment.left, uvt[:, :2], footprint, self._finer(footprint, between=False))
        zero = uvt.new_zeros(len(uvt))
        none = uvt.new_zeros(len(uvt), 0)
        alpha = none
        if opacity and self.opacity is not None:
            alpha = self.opacity(segment.left, uvt[:, :2], footprint)
        return Read(colour, none, torch.zeros_like(colour), uvt.new_zeros(len(uvt), 2), zero, alpha)

    def _read(
        self, uvt: Tensor, fraction: Tensor, footprint: Footprint, segment: Segment, finer: Finer | None, opacity: bool
    ) -> Read:
        """Read both keyframes of a segment at motion-aligned positions."""
        uv = uvt[:, :2]
        none = uvt.new_zeros(len(uvt), 0)
        left_uv = right_uv = uv
        match = None
        if self.motion is not None and segment.gap is not None:
            match = self.motion.match(segment.gap, uv, fraction)
            left_uv, right_uv = match.left_uv, match.right_uv
        held = segment.gap is None
        weight = fraction
        colour = disagreement = seen = none
        features = none
        if self.colours is not None:
            places = [(segment.left, left_uv), (segment.right, right_uv)]
            left, right = (self.colours(keyframe, at, footprint, finer) for keyframe, at in places)
            disagreement = right - left
            if match is not None and self.visibility is not None:
                alone = [(segment.left, match.lone_left_uv), (segment.right, match.lone_right_uv)]
                views = (left, right, *(self.colours(keyframe, at, footprint, finer) for keyframe, at in alone))
                shares = view_shares(self.visibility, match, views, fraction)
                weight = shares[:, 1] + shares[:, 3]
                colour = blended(views, shares)
                places += alone
            else:
                shares = torch.stack([1 - weight, weight], dim=-1) if opacity else none
                colour = torch.lerp(left, right, weight[:, None])
            if opacity and self.opacity is not None:
                # Never on the finer level: how pixels are cut is learnt from colours.
                seen = blended([self.opacity(keyframe, at, footprint) for keyframe, at in places], shares)
        if self.latents is not None:
            left = self.latents(segment.left, left_uv)
            right = left if held else self.latents(segment.right, right_uv)
            features = torch.lerp(left, right, weight[:, None])
        seconds = self.timeline.seconds(segment)
        velocity = (right_uv - left_uv) * uv.new_tensor([self.size[1], self.size[0]]) / seconds
        return Read(colour, features, disagreement, velocity, weight, seen)

    def _decode(self, decoder: Decoder, uvt: Tensor, footprint: Footprint, features: Tensor) -> Tensor:
        """Colours (n, 3) of points and the latents read for them, in the same order."""
        assert self.fourier is not None
        instants, index = torch.unique_consecutive(uvt[:, 2], return_inverse=True)
        condition = self.shared(instants) if self.shared is not None else uvt.new_zeros(1, 0)
        return 0.5 + decoder(self.fourier(uvt, footprint), condition, index, features)
