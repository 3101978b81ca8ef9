"""How scenes are mixed from labelled clips and what is learned from them. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from naturelm_audio.errors import OptionsError

__all__ = ["MixOptions", "ScenesOptions"]


@dataclass(frozen=True, kw_only=True)
class MixOptions:
    """How scenes are mixed; the probabilities of one, two and three clips and of each change."""

    clips: tuple[float, ...] = (0.35, 0.4, 0.25)
    background_probability: float = 0.0
    """Of noise, wind, rain or the like behind a single clip, at 0 to 20 dB below it; it is no answer."""
    pair_probability: float = 0.0
    """Of two animals of `PAIR_SOURCES` at like level, from which counting is learned."""
    level_range_db: float = 12.0
    """Further clips are up to this much quieter than the first."""
    focal_db: float = 5.0
    """A first clip this much louder than the others is the focal one."""
    low_pass_probability: float = 0.25
    equalise_probability: float = 0.25
    noise_probability: float = 0.15
    speed_probability: float = 0.3

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_shares(self)
        if not self.clips or min(self.clips) < 0 or not sum(self.clips) > 0:
            raise OptionsError(f"clips must be probabilities of one clip, of two and so on, not {self.clips}")


@dataclass(frozen=True, kw_only=True)
class ScenesOptions:
    """Scenes that are mixed while the model learns, in place of rows of annotation files."""

    manifest: str
    """Table of labelled clips; its paths start from its own folder."""
    exclude_sources: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    """Clips to leave out, as the manifest has them: with wrong labels, say."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """How often a source is heard, on top of balancing by label."""
    synthetic_per_kind: int = 0
    """Clips made by our own synthesiser, for each kind it knows."""
    questions: int = 0
    """On each scene; 0 trains encoder and bridge alone, on the teacher and the labels."""
    long_every: int = 8
    """Every n-th update has half as many scenes, of the model's longest clips; 0 for none."""
    mask_probability: float = 0.3
    """Of scenes with masked bands and frames."""
    teacher: str | None = None
    """File of YAMNet, which encoder and bridge learn to predict."""
    teacher_weight: float = 1.0
    label_weight: float = 1.0
    mix: MixOptions = field(default_factory=MixOptions)

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_shares(self)
        for name in ("questions", "long_every", "synthetic_per_kind"):
            if getattr(self, name) < 0:
                raise OptionsError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if min(self.teacher_weight, self.label_weight, *self.source_weights.values()) < 0:
            raise OptionsError("teacher_weight, label_weight and source_weights must be 0 or more")


def _check_shares(options: MixOptions | ScenesOptions) -> None:
    for item in fields(options):
        if item.name.endswith("_probability") and not 0 <= getattr(options, item.name) <= 1:
            raise OptionsError(f"{item.name} must be from 0 to 1, not {getattr(options, item.name):g}")
