"""How sure a field is of frames that nobody has seen: what it says of itself, as its file holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """What is expected of a part of the clip.

    Attributes:
        start_seconds: from the clip's first frame.
        end_seconds: likewise.
        gaps: how many in-between gaps lie in it.
        psnr: expected dB of unseen frames half-way in its gaps, on average.
    """

    start_seconds: float
    end_seconds: float
    gaps: int
    psnr: float


@dataclass(frozen=True)
class Expectation:
    """What a field expects of itself.

    Attributes:
        shots: one stretch for each shot in which anything was looked at between frames.
        doubtful: stretches whose motion is too large to trust. Of a long clip not every gap was looked at.
    """

    shots: tuple[Stretch, ...]
    doubtful: tuple[Stretch, ...]

    @property
    def psnr(self) -> float:
        """Expected dB of unseen frames, the mean over the clip's gaps."""
        return sum(shot.psnr * shot.gaps for shot in self.shots) / sum(shot.gaps for shot in self.shots)

    def __str__(self) -> str:
        """One line for people."""
        text = f"{self.psnr:.1f} dB"
        if len(self.shots) > 1:
            parts = (f"{s.start_seconds:.2f}-{s.end_seconds:.2f} s {s.psnr:.1f}" for s in self.shots)
            text += f" ({', '.join(parts)})"
        return text

    @property
    def warning(self) -> str | None:
        """One line about where not to trust the motion; None where there is no such place."""
        if not self.doubtful:
            return None
        worst = min(self.doubtful, key=lambda stretch: stretch.psnr)
        more = f", and {len(self.doubtful) - 1} more stretches" if len(self.doubtful) > 1 else ""
        return (
            f"the motion from {worst.start_seconds:.2f} to {worst.end_seconds:.2f} s is too large to trust: "
            f"about {worst.psnr:.0f} dB expected in between{more}"
        )
