"""The field: a continuous function c(u, v, t) -> RGB, composed of its parts.

    match     = motion(u, v, t)                         where the point is in the keyframes on both sides
    colour    = sum of share * view                     the keyframes' colours there; shares by nearness, visibility
    residual  = decode(fourier(uvt), local latents, colours | global latent)
    rgb       = colour + gate(t) residual
    alpha     = sum of share * view                     the keyframes' alpha, likewise, where the clip has some

With keyframe colours the gate is 4 alpha (1 - alpha), so that an observed instant shows its own frame, exactly.
Without colours the decoder makes everything and the gate is 1.
Each part can be switched off by config.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vfield.coords import Footprint
from vfield.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.decoder import Decoder
from vfield.field.detail import Detail, Sighting, gather, neighbours, sight
from vfield.field.encoder import EncodedGlobal, EncodedGrids, Predicted
from vfield.field.following import Followed, follow
from vfield.field.fourier import FourierFeatures
from vfield.field.latents import ColourKeyframes, Finer, GlobalLatent, LatentGrids
from vfield.field.motion import Curves, MotionField, Visibility
from vfield.field.reads import Read, blended, joined, view_shares
from vfield.field.timeline import Segment, Timeline

# A field learns its residual across gaps of two intervals and is asked across gaps of one.
_RESIDUAL_SCALE = 1 / 4

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

    def __init__(
        self,
        config: FieldConfig,
        *,
        keyframes: Tensor,
        t: Tensor,
        shots: Sequence[range],
        duration_seconds: float,
        curves: Curves | None,
        generator: torch.Generator,
        alpha: Tensor | None = None,
    ) -> None:
        """Build a field at its start.

        Args:
            config: its parts.
            keyframes: (k, 3, h, w) frames at the keyframes, uint8 or float in [0, 1]. Kept only where
                `config.local.colours`; otherwise just the size is read.
            t: (k,) their instants, float32 seconds since the clip's first frame.
            shots: runs of keyframes between cuts.
            duration_seconds: length of the clip.
            curves: starting curves of every gap, in the order of `timeline.gaps_between`; None without motion.
            generator: source of the random starting values.
            alpha: (k, h, w) the keyframes' alpha, by which their colours are multiplied, of their type; None where all
                is opaque. Kept only where colours are.
        """
        super().__init__()
        self.config = config
        self.size = (int(keyframes.shape[-2]), int(keyframes.shape[-1]))
        self.timeline = Timeline(t, shots)
        self.hidden_rows: dict[int, int] = {}
        self._rehearses = False
        self.fourier = FourierFeatures(config.fourier, duration_seconds, generator)
        self.shared = GlobalLatent(config.shared, duration_seconds, generator) if config.shared.enabled else None
        self.colours = ColourKeyframes(keyframes) if config.local.colours else None
        # A part of its own, so that whoever asks for colours alone does the same work, and learns the same, as without.
        self.opacity = None if alpha is None or self.colours is None else ColourKeyframes(alpha[:, None])
        self.latents = LatentGrids(config.local, len(t), *self.size, generator) if config.local.levels else None
        with_motion = config.motion.enabled and config.has_local
        if with_motion and curves is None:
            raise UserError("motion.enabled needs starting curves, got none")
        self.motion = MotionField(config.motion, curves, *self.size) if with_motion and curves is not None else None
        see = with_motion and config.motion.visibility and config.local.colours
        self.visibility = Visibility(*self.size) if see else None
        self._local_width = (6 if self.colours else 0) + (self.latents.width if self.latents else 0)
        self.decoder = Decoder(
            config.decoder, self.fourier.width, self.shared.width if self.shared else 0, 3, self._local_width
        )
        self.detail = Detail(config.detail) if config.detail.enabled and config.local.colours else None
        if config.codes == "autoencoder":
            # In place of what was made above, so that nothing else is drawn differently.
            if self.shared is not None:
                self.shared = EncodedGlobal(config.shared, config.encoder, keyframes, t, duration_seconds, generator)
            if self.latents is not None:
                self.latents = EncodedGrids(config.local, config.encoder, keyframes, generator)

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

    def at_size(self, keyframes: Tensor, curves: Curves | None) -> VideoField:
        """A field of the same clip at another size, with the same learnt parts: what is learnt in one is in both.

        It is for learning, and knows nothing of alpha.

        Args:
            keyframes: (k, 3, h', w'), the same keyframes.
            curves: of every gap; None without motion.
        """
        twin = copy.copy(self)
        # A copy of the table of parts: the parts are shared, the two fields differ in which they hold.
        twin._modules = dict(self._modules)
        twin.size = (int(keyframes.shape[-2]), int(keyframes.shape[-1]))
        if self.colours is not None:
            twin.colours = ColourKeyframes(keyframes)
        twin.opacity = None
        if self.motion is not None and curves is not None:
            twin.motion = MotionField(replace(self.config.motion, levels=()), curves, *twin.size)
        if self.visibility is not None:
            twin.visibility = self.visibility.resized(*twin.size)
        return twin

    def rehearsal(self, keyframes: Tensor, curves: Curves | None, hidden: Sequence[int]) -> VideoField:
        """Like `at_size`, but the field can hide keyframes. Only `forward(..., hide=True)` may be asked of it.

        Args:
            keyframes: (k, 3, h', w'), the same keyframes.
            curves: across the hidden ones, row i for hidden[i]; None without motion.
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
        base, residual = self.layers(uvt, footprint, hide=hide)
        return base + residual

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
        base, residual, opacity = self._answer(uvt, footprint, hide=False, opacity=True)
        return torch.cat([base + residual, opacity], dim=-1)

    def layers(self, uvt: Tensor, footprint: Footprint | None = None, *, hide: bool = False) -> tuple[Tensor, Tensor]:
        """The two parts of `forward`, each (n, 3): what the keyframes say, and what the decoder adds to it."""
        base, residual, _ = self._answer(uvt, footprint, hide)
        return base, residual

    def _answer(
        self, uvt: Tensor, footprint: Footprint | None, hide: bool, opacity: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `layers` gives, and alpha (n, 1) if it is asked for."""
        uvt = self._within(uvt)
        if len(uvt) == 0:
            return uvt.clone(), uvt.clone(), uvt[:, :1].clone()
        footprint = footprint or Footprint.of_size(*self.size)
        order, read = self._gather(uvt, footprint, hide, moving=False, opacity=opacity)
        base, residual = self._decode(uvt if order is None else uvt[order], footprint, read)
        parts = (base, residual, read.opacity)
        if order is None:
            return parts
        base, residual, alpha = (torch.empty_like(part).index_copy(0, order, part) for part in parts)
        return base, residual, alpha

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
        return gather(self.colours, keyframe, self._sightings(keyframe))

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
        return Finer(detail.version, lambda keyframe: detail.finer(colours, keyframe, self._sightings))

    def _sightings(self, keyframe: int) -> list[Sighting | None]:
        """Where a keyframe's neighbours show its points; None for those beyond a cut, or that motion does not join."""
        assert self.detail is not None
        t = self.timeline.t.tolist()
        shot = next(shot for shot in self.timeline.shots if keyframe in shot)
        device = next(self.buffers()).device
        return [
            sight(self.follow, t, keyframe, other, self.size, device)
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
                alpha = self.timeline.alpha(segment, points[:, 2])
                parts.append(self._read(points, alpha, footprint, segment, finer, opacity))
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
        features = uvt.new_zeros(len(uvt), self._local_width)
        alpha = uvt.new_zeros(len(uvt), 0)
        if opacity and self.opacity is not None:
            alpha = self.opacity(segment.left, uvt[:, :2], footprint)
        return Read(colour, features, zero, torch.zeros_like(colour), uvt.new_zeros(len(uvt), 2), zero, alpha)

    def _read(
        self, uvt: Tensor, alpha: Tensor, footprint: Footprint, segment: Segment, finer: Finer | None, opacity: bool
    ) -> Read:
        """Read both keyframes of a segment at motion-aligned positions."""
        uv = uvt[:, :2]
        none = uvt.new_zeros(len(uvt), 0)
        left_uv = right_uv = uv
        match = None
        if self.motion is not None and segment.gap is not None:
            match = self.motion.match(segment.gap, uv, alpha)
            left_uv, right_uv = match.left_uv, match.right_uv
        held = segment.gap is None
        weight = alpha
        colour = disagreement = seen = none
        features = []
        if self.colours is not None:
            places = [(segment.left, left_uv), (segment.right, right_uv)]
            left, right = (self.colours(keyframe, at, footprint, finer) for keyframe, at in places)
            disagreement = right - left
            if match is not None and self.visibility is not None:
                alone = [(segment.left, match.lone_left_uv), (segment.right, match.lone_right_uv)]
                views = (left, right, *(self.colours(keyframe, at, footprint, finer) for keyframe, at in alone))
                shares = view_shares(self.visibility, match, views, alpha)
                weight = shares[:, 1] + shares[:, 3]
                colour = blended(views, shares)
                places += alone
            else:
                shares = torch.stack([1 - weight, weight], dim=-1) if opacity else none
                colour = torch.lerp(left, right, weight[:, None])
            if opacity and self.opacity is not None:
                # Never on the finer level: how pixels are cut is learnt from colours.
                seen = blended([self.opacity(keyframe, at, footprint) for keyframe, at in places], shares)
            # The decoder looks on: what it would like must not move the motion or the shares.
            features += [colour.detach() - 0.5, disagreement.detach()]
        if self.latents is not None:
            left = self.latents(segment.left, left_uv)
            right = left if held else self.latents(segment.right, right_uv)
            features.append(torch.lerp(left, right, weight.detach()[:, None]))
        gate = 4 * alpha * (1 - alpha) if self.colours is not None else torch.ones_like(alpha)
        seconds = self.timeline.seconds(segment)
        velocity = (right_uv - left_uv) * uv.new_tensor([self.size[1], self.size[0]]) / seconds
        return Read(colour, torch.cat([none, *features], dim=-1), gate, disagreement, velocity, weight, seen)

    def _decode(self, uvt: Tensor, footprint: Footprint, read: Read) -> tuple[Tensor, Tensor]:
        """Base and residual (n, 3) of points and what was read for them, in the same order."""
        if self.colours is not None and (self._is_mute() or not bool(read.gate.any())):
            return read.colour, torch.zeros_like(read.colour)
        instants, index = torch.unique_consecutive(uvt[:, 2], return_inverse=True)
        condition = self.shared(instants) if self.shared is not None else uvt.new_zeros(1, 0)
        residual = self.decoder(self.fourier(uvt, footprint), condition, index, read.features)
        if self.colours is None:
            return torch.full_like(residual, 0.5), residual
        return read.colour, read.gate[:, None] * residual

    def _is_mute(self) -> bool:
        """Whether the decoder adds nothing, and need not be asked: not before it has learnt, nor when turned off."""
        return not self.training and not any(bool(p.any()) for p in self.decoder.head.parameters())
