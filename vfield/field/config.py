"""Which parts a field has and how large they are; nothing here loads torch, so that options are known at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vfield.core.errors import UserError
from vfield.core.ranges import Range, check_ranges

FourierKind = Literal["none", "basic", "positional", "gaussian"]
ConditioningKind = Literal["none", "concatenate", "film", "batchnorm", "hypernetwork"]


@dataclass(frozen=True)
class FourierConfig:
    """Which features.

    Attributes:
        kind: "none" (the coordinates themselves), "basic" (one wave an axis), "positional" (log-spaced waves an axis)
            or "gaussian" (random directions).
        count: number of frequencies for "gaussian"; per axis for "positional".
        space_bandwidth: cycles across the picture, for both axes or as [u, v]: standard deviation for "gaussian", the
            highest for "positional".
        time_bandwidth: likewise, cycles over the whole clip. Time wants much less than space. A bandwidth of 0 leaves
            its axis out: what the features tell does not depend on it.
        learnt: whether the frequencies are learnt with the rest, from these on, or stay as they are.
    """

    kind: FourierKind = "gaussian"
    count: Annotated[int, Range(1, 65536)] = 8
    space_bandwidth: Annotated[float | tuple[float, float], Range(0, 1e5)] = 2.0
    time_bandwidth: Annotated[float, Range(0, 1e5)] = 0.5
    learnt: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, "field.fourier")
        if max(self.bandwidths) == 0:
            raise UserError("fourier bandwidths are all 0, which leaves no axis; raise space_bandwidth")
        if self.learnt and self.kind == "none":
            raise UserError("fourier.learnt needs frequencies to learn, and kind none has none; choose another kind")

    @property
    def bandwidths(self) -> tuple[float, float, float]:
        """Of u, v and t."""
        space = self.space_bandwidth
        u, v = space if isinstance(space, tuple) else (space, space)
        return u, v, self.time_bandwidth


@dataclass(frozen=True)
class GlobalConfig:
    """What the whole picture shares.

    Attributes:
        enabled: False leaves the global latent out.
        width: length of the clip's code, and of the track beside it.
        knots_per_second: knots of the track over time, for what changes everywhere at once (exposure, fades).
    """

    enabled: bool = True
    width: Annotated[int, Range(1, 4096)] = 8
    knots_per_second: Annotated[float, Range(0, 1000, open=True)] = 4.0

    def __post_init__(self) -> None:
        check_ranges(self, "field.shared")


@dataclass(frozen=True)
class LocalConfig:
    """What is remembered at places.

    Attributes:
        colours: keep the keyframes' own colours as the finest level.
        levels: cell sizes, in source pixels, of the learnt grids at every keyframe; empty for none.
        channels: latents a cell in each learnt level.
        keyframe_stride: every k-th observed frame is a keyframe.
    """

    colours: bool = True
    levels: Annotated[tuple[int, ...], Range(1, 4096)] = (8, 32)
    channels: Annotated[int, Range(1, 1024)] = 4
    keyframe_stride: Annotated[int, Range(1, 100_000)] = 1

    def __post_init__(self) -> None:
        check_ranges(self, "field.local")


@dataclass(frozen=True)
class MotionConfig:
    """What moves.

    Attributes:
        enabled: False joins keyframes by fading in place.
        curved: False keeps trajectories straight.
        visibility: False weighs both sides by nearness in time alone.
        cell: size in source pixels of a cell of the starting curves.
    """

    enabled: bool = True
    curved: bool = True
    visibility: bool = True
    cell: Annotated[int, Range(1, 1024)] = 4

    def __post_init__(self) -> None:
        check_ranges(self, "field.motion")


@dataclass(frozen=True)
class DecoderConfig:
    """Size of the MLP and how the latents steer it.

    Attributes:
        width: units in a hidden layer.
        depth: number of hidden layers.
        conditioning: how the global latent steers: "none" (it is not used), "concatenate", "film", "batchnorm" or
            "hypernetwork".
        local_conditioning: how what is read at the keyframes steers, likewise.
        rank: of the weights that a hypernetwork makes.
    """

    width: Annotated[int, Range(1, 8192)] = 32
    depth: Annotated[int, Range(1, 64)] = 2
    conditioning: ConditioningKind = "film"
    local_conditioning: ConditioningKind = "concatenate"
    rank: Annotated[int, Range(1, 1024)] = 8

    def __post_init__(self) -> None:
        check_ranges(self, "field.decoder")


@dataclass(frozen=True)
class DetailConfig:
    """The encoder of the level at twice the keyframes' size.

    Attributes:
        enabled: False reads keyframes enlarged by splines alone.
        radius: how many neighbours on each side it looks at.
        channels: of its hidden layers.
        blocks: residual blocks of two convolutions each.
    """

    enabled: bool = True
    radius: Annotated[int, Range(0, 16)] = 2
    channels: Annotated[int, Range(1, 4096)] = 32
    blocks: Annotated[int, Range(0, 64)] = 2

    def __post_init__(self) -> None:
        check_ranges(self, "field.detail")


@dataclass(frozen=True)
class EncoderConfig:
    """Size of the networks that predict codes.

    Attributes:
        channels: of a hidden layer.
        blocks: residual convolutions of 3x3 cells.
    """

    channels: Annotated[int, Range(1, 4096)] = 32
    blocks: Annotated[int, Range(0, 64)] = 2

    def __post_init__(self) -> None:
        check_ranges(self, "field.encoder")


@dataclass(frozen=True)
class FieldConfig:
    """The parts of a field.

    Attributes:
        fourier: features of (u, v, t).
        shared: the global latent.
        local: the local latents.
        motion: the motion field.
        decoder: the MLP.
        detail: the encoder of a level finer than the keyframes.
        codes: where the global and the learnt local latents come from: they are learnt themselves ("autodecoder"), or
            an encoder that is learnt predicts them from the keyframes ("autoencoder").
        encoder: that encoder.
    """

    fourier: FourierConfig = FourierConfig()
    shared: GlobalConfig = GlobalConfig()
    local: LocalConfig = LocalConfig()
    motion: MotionConfig = MotionConfig()
    decoder: DecoderConfig = DecoderConfig()
    detail: DetailConfig = DetailConfig()
    codes: Literal["autodecoder", "autoencoder"] = "autodecoder"
    encoder: EncoderConfig = EncoderConfig()

    def __post_init__(self) -> None:
        if self.codes == "autoencoder" and not self.shared.enabled and not self.local.levels:
            raise UserError("field.codes autoencoder needs something to predict: shared.enabled or local.levels")

    @property
    def gaps_beside(self) -> int:
        """How many gaps a frame in between looks at, with those that its keyframes' detail is made from."""
        return 4 * self.detail.radius + 2 if self.detail.enabled and self.local.colours else 3

    @property
    def has_local(self) -> bool:
        """Whether anything is read at keyframes."""
        return self.local.colours or bool(self.local.levels)
