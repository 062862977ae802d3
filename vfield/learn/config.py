"""Everything that decides what a fit does, besides the clip."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from vfield.core.clip import Clip, ClipFacts
from vfield.core.devices import DeviceName
from vfield.core.ranges import Range, check_ranges
from vfield.field.config import FieldConfig
from vfield.prepare.config import DenoiseConfig, FlowConfig

_LOG = logging.getLogger("vfield")
_STEPS_FROM_PRIOR, _STEPS_FROM_NOTHING = 150, 300


@dataclass(frozen=True)
class SamplingConfig:
    """What a batch holds.

    Attributes:
        patches: patches in the whole batch, over all processes.
        patch_size: side of a patch in pixels.
        hidden_share: fraction of the patches whose keyframe is hidden from the field (the in-between task). The others
            are of observed pixels, as they are; a field that shows its keyframes' own colours has nothing to learn
            from those, and does without them.
    """

    patches: Annotated[int, Range(1, 1 << 20)] = 32
    patch_size: Annotated[int, Range(1, 4096)] = 24
    hidden_share: Annotated[float, Range(0, 1)] = 0.75

    def __post_init__(self) -> None:
        check_ranges(self, "sampling")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the loss terms.

    Attributes:
        observed: weight of the squared error at observed pixels.
        hidden: weight of the smooth absolute error at pixels of hidden keyframes.
        detail: weight of the smooth absolute error of the finer cells, in units of the clip's own detail.
    """

    observed: Annotated[float, Range(0, 1e6)] = 1.0
    hidden: Annotated[float, Range(0, 1e6)] = 1.0
    detail: Annotated[float, Range(0, 1e6)] = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, "objective")


@dataclass(frozen=True)
class TrainingConfig:
    """The loop.

    Attributes:
        steps: optimisation steps; None to be bounded by `minutes` alone, or, where these are None, too, for as many as
            were worth it: 150 from the prior and 300 from nothing.
        minutes: time budget for the whole fit, the start of the motion included; None for no bound.
        prior: "shipped" starts from what other clips have taught; "none" learns from this clip alone.
        learning_rate: of the networks and latents at the start; it falls to zero along a cosine.
        seed: of everything random.
        device: "auto" takes an accelerator where there is one.
        mixed_precision: None leaves it to Accelerate's own settings.
        accumulation: batches a step.
        save_seconds: time between saves of the field and of what resuming needs.
        picture_seconds: time between pictures in TensorBoard, at least.
    """

    steps: Annotated[int | None, Range(0, 10**9)] = None
    minutes: Annotated[float | None, Range(0, 10**6, open=True)] = None
    prior: Literal["shipped", "none"] = "shipped"
    learning_rate: Annotated[float, Range(0, 10)] = 2e-3
    seed: Annotated[int, Range(0, (1 << 31) - 1)] = 0
    device: DeviceName = "auto"
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    accumulation: Annotated[int, Range(1, 65536)] = 1
    save_seconds: Annotated[float, Range(0, 10**9, open=True)] = 30.0
    picture_seconds: Annotated[float, Range(0, 10**9, open=True)] = 60.0

    def __post_init__(self) -> None:
        check_ranges(self, "training")


@dataclass(frozen=True)
class TeachingConfig:
    """A prior that is taught instead of fields (`vfield.learn.teaching`).

    Attributes:
        pieces: short pieces that are drawn of each clip and degraded at random; 0 fits fields.
        frames: of a piece.
        judged: clips, by name, that are not learnt from but tell after which step the prior was best.
        judgements: how often they are asked.
    """

    pieces: Annotated[int, Range(0, 10_000)] = 0
    frames: Annotated[int, Range(3, 10_000)] = 9
    judged: tuple[str, ...] = ()
    judgements: Annotated[int, Range(1, 10_000)] = 10

    def __post_init__(self) -> None:
        check_ranges(self, "teaching")


@dataclass(frozen=True)
class Config:
    """Everything that decides what a fit does, besides the clip.

    Attributes:
        field: the parts of the field.
        flow: the classical flow that starts its motion.
        sampling: what a batch holds.
        objective: the loss terms.
        training: the loop.
        denoising: noise taken out of the clip before anything else.
        teaching: a prior that is taught instead.
    """

    field: FieldConfig = FieldConfig()
    flow: FlowConfig = FlowConfig()
    sampling: SamplingConfig = SamplingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    denoising: DenoiseConfig = DenoiseConfig()
    teaching: TeachingConfig = TeachingConfig()

    def __post_init__(self) -> None:
        if self.training.steps is None and self.training.minutes is None:
            steps = _STEPS_FROM_PRIOR if self.has_prior else _STEPS_FROM_NOTHING
            object.__setattr__(self, "training", replace(self.training, steps=steps))

    @property
    def has_prior(self) -> bool:
        """Whether a fit starts from what other clips have taught; that speaks for fields of keyframe colours alone."""
        return self.training.prior == "shipped" and self.field.local.colours

    def kept(self, facts: ClipFacts) -> ClipFacts:
        """A clip's facts as far as its field will know them: alpha only beside keyframe colours."""
        return facts if self.field.local.colours else replace(facts, has_alpha=False)

    def without_what_is_lost(self, clip: Clip, prefix: str = "", says: bool = True) -> Clip:
        """A clip as far as its field will know it; if it `says`, a line in the log tells what is lost."""
        if clip.alpha is None or self.kept(clip.facts).has_alpha:
            return clip
        if says:
            _LOG.warning(
                "%salpha is dropped, a field without local.colours cannot keep it: the picture is taken over black",
                prefix,
            )
        return replace(clip, alpha=None)
