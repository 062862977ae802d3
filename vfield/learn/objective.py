"""What a fit minimises: a module that holds the field and turns a batch into loss terms.

The terms:

- observed: the field at observed pixels, where it makes them itself.
- hidden: the field at pixels of keyframes that it may not look at (the in-between task).
- detail: the encoder of detail on patches of frames at half their size (`vfield.learn.enlarging`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vfield.field.video_field import VideoField
from vfield.learn.config import ObjectiveConfig
from vfield.learn.enlarging import Patches
from vfield.learn.losses import charbonnier, squared
from vfield.learn.sampling import Batch

# Errors under about this count squared, larger ones by their size: what cannot be made right must not rule the rest.
_HIDDEN_EPSILON = 2 / 255
_DETAIL_EPSILON = 0.5  # likewise, in units of the clip's own detail


class Terms(NamedTuple):
    """Weighted loss terms, each a scalar whose mean over processes is the whole batch's.

    `error` is no term of the loss: the mean squared error of the field's answers in this batch, for people.
    """

    observed: Tensor
    hidden: Tensor
    detail: Tensor
    error: Tensor

    def total(self) -> Tensor:
        """The loss."""
        return self.observed + self.hidden + self.detail


class Objective(nn.Module):
    """(batch) -> loss terms. One forward a step, so that wrappers for several devices see a single call."""

    def __init__(
        self, field: VideoField, rehearsal: VideoField | None, config: ObjectiveConfig, unit: float | None = None
    ) -> None:
        """Hold a field, and the one that shares its learnt parts and can hide keyframes.

        Args:
            field: the field.
            rehearsal: the other; None where nothing can be hidden.
            config: weights of the terms.
            unit: what errors at hidden frames are measured in; None for the range of 0 to 1.
        """
        super().__init__()
        self.field = field
        self.rehearsal = rehearsal
        self.config = config
        self.unit = unit

    def forward(self, batch: Batch, patches: Patches | None = None) -> Terms:
        """Loss terms of one batch, over all its points: the terms of a whole are the means of its shares' terms.

        Args:
            batch: points.
            patches: for the encoder of detail; None where it does not learn.
        """
        config = self.config
        count = 3 * max(len(batch.uvt), 1)
        seen = len(batch.uvt) - batch.hidden
        # Every parameter takes part in every step, if only with nothing: an observed instant may touch none of them,
        # and processes that share a batch must agree on which gradients there are.
        zero = 0 * torch.stack([parameter.reshape(-1)[:1].sum() for parameter in self.parameters()]).sum()
        observed = hidden = detail = zero
        error = zero.detach()

        def of_truth(apart: Tensor, part: slice) -> Tensor:
            """Errors (n, 3) where there is a truth, zero elsewhere: every share of a batch has as many points."""
            return apart if batch.visible is None else apart * batch.visible[part, None]

        if seen:
            prediction = self.field(batch.uvt[:seen])
            apart = of_truth(squared(prediction, batch.rgb[:seen]), slice(seen)).sum() / count
            observed = config.observed * apart
            error = error + apart.detach()
        if batch.hidden and self.rehearsal is not None:
            prediction = self.rehearsal(batch.uvt[seen:], hide=True)
            target, rest = batch.rgb[seen:], slice(seen, None)
            apart = charbonnier(prediction, target, _HIDDEN_EPSILON if self.unit is None else self.unit)
            hidden = config.hidden / (self.unit or 1.0) * of_truth(apart, rest).sum() / count
            error = error + of_truth(squared(prediction.detach(), target), rest).sum() / count
        if batch.visible is not None:
            # For people: the mean over what there is to compare with.
            error = error / batch.visible.float().mean().clamp(min=1 / max(len(batch.visible), 1))
        if patches is not None and self.field.detail is not None:
            found = self.field.detail(patches.evidence)
            apart = charbonnier(found, patches.residual, _DETAIL_EPSILON)
            detail = config.detail * (apart if patches.visible is None else apart * patches.visible).mean()
        return Terms(observed, hidden, detail, error)


class JointObjective(nn.Module):
    """The objectives of all clips of a run. Each call asks one of them, and every parameter takes part in it."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        """Hold one objective a clip."""
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, member: int, batch: Batch, patches: Patches | None = None) -> Terms:
        """Loss terms of a batch of one clip.

        Args:
            member: number of the clip.
            batch: its points.
            patches: as in `Objective`.
        """
        terms: Terms = self.parts[member](batch, patches)
        if len(self.parts) == 1:
            return terms
        zero = 0 * torch.stack([parameter.reshape(-1)[:1].sum() for parameter in self.parameters()]).sum()
        return terms._replace(observed=terms.observed + zero)
