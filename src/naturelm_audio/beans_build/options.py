"""What benchmark to build: tables, components with their rules, and how it is written.

A settings file holds the same names; see ``configs/local_benchmark.yml``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.labelled import KINDS
from naturelm_audio.train.manifest.problems import did_you_mean

__all__ = ["FORMS", "LEVELS", "BuildOptions", "ComponentOptions", "Rule", "component_of"]

Rule = Literal[
    "labels", "species", "unseen-species", "unseen-genus", "unseen-family",
    "genus", "family", "order", "class", "life-stage", "call-type", "sex",
    "presence", "detection", "counting", "captioning",
]  # fmt: skip
FORMS: dict[str, str] = {"common": "cmn", "scientific": "sci", "taxonomic": "tax"}
"""Form of a name -> what a component's name ends with."""
LEVELS: dict[str, str] = {
    "unseen-species": "species",
    "unseen-genus": "genus",
    "unseen-family": "family",
}
_BY_NAME = ("labels", "presence")


@dataclass(frozen=True, kw_only=True)
class ComponentOptions:
    """One component.

    Raises:
        OptionsError: a value is out of range, or means nothing with this rule.
    """

    rule: Rule
    name: str = ""
    """The rule's own name if empty. ``species`` and ``unseen-*`` make one component for each form."""
    sources: tuple[str, ...] = ()
    """Data sets that are taken; all if empty."""
    kinds: tuple[str, ...] = ()
    """Kinds of sound that are taken (animal, environment ...); all if empty."""
    without_labels: tuple[str, ...] = ()
    """Recordings with these labels are left out."""
    labels: tuple[str, ...] = ()
    """Labels in their order; recordings with others are left out. Those that occur if empty."""
    forms: tuple[str, ...] = tuple(FORMS)
    """Of ``species`` and ``unseen-*``: common, scientific, taxonomic."""
    prompt: str | None = None
    """``{}`` in it stands for the list of labels."""
    max_seconds: float = 10.0
    """Clips are cut to this; of ``counting`` the length of every mixture."""
    balance: bool = False
    """As many rows of each label as the rarest has."""
    least_per_label: int = 1
    """A label with fewer rows is left out; one that was asked for by name is an error."""
    most_per_label: int | None = None
    window_seconds: float = 10.0
    shift_seconds: float = 5.0
    least_share: float = 0.0
    """Of an event that must lie in a window for its label to count; 0 is any overlap."""
    rare_count: int = 100
    """Of ``detection``: labels with fewer events are called ``unknown_label``."""
    unknown_label: str = "other"
    completely_annotated: bool = False
    """Of ``detection``: a window without an event is ``None``; else it is left out."""
    rows: int | None = None
    """Of ``counting``: how many mixtures; as many as there are recordings if None."""
    who: Literal["individual", "species", "label"] = "individual"
    """Of ``counting``: what two recordings must differ in to be of two animals."""
    most_animals: int = 4
    quietest_db: float = -12.0
    """Of ``counting``: how much less loud the others may be than the first."""
    answers: tuple[str, ...] = ("One", "More")
    """Of ``counting``: for one animal, and for several."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, known in (("forms", tuple(FORMS)), ("kinds", KINDS)):
            for one in getattr(self, name):
                if one not in known:
                    hint = did_you_mean(one, known) or f"; there are {', '.join(known)}"
                    raise OptionsError(f"{name}: there is no {one!r}{hint}")
        for name in ("max_seconds", "window_seconds", "shift_seconds"):
            if not 0.5 <= getattr(self, name) <= 600:
                raise OptionsError(f"{name} must be from 0.5 to 600, not {getattr(self, name)}")
        for name in ("least_per_label", "most_per_label", "rows"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise OptionsError(f"{name} must be 1 or more, not {getattr(self, name)}")
        self._check_rule()

    def _check_rule(self) -> None:
        if self.shift_seconds > self.window_seconds:
            raise OptionsError("shift_seconds must be at most window_seconds, or sound is left out")
        if not 0 <= self.least_share <= 1:
            raise OptionsError(f"least_share must be from 0 to 1, not {self.least_share}")
        if self.most_animals < 2 or self.quietest_db > 0 or len(set(self.answers)) != 2:
            raise OptionsError("counting: most_animals is 2 or more, quietest_db 0 or less, answers are two")
        if not self.forms or len(set(self.labels)) != len(self.labels):
            raise OptionsError("forms must not be empty, and labels name each label once")
        if self.labels and self.rule not in (*_BY_NAME, "detection"):
            raise OptionsError(
                f"labels can't be chosen with rule {self.rule}: its answers follow from the table"
            )

    @property
    def title(self) -> str:
        """What the component is called, before the form of a name."""
        return self.name or self.rule


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """A whole benchmark; paths are relative to the working folder.

    Raises:
        OptionsError: a value is out of range, or two components have one name.
    """

    name: str = "benchmark"
    tables: tuple[str, ...] = ()
    """Labelled recordings: tables, folders for each label, or tables of events."""
    kind: Literal["auto", "recordings", "folders", "events"] = "auto"
    audio_root: str | None = None
    """Where the recordings are; the folder of the first table if None."""
    label_column: str | None = None
    """Of tables of events, where it isn't plain."""
    splits: tuple[str, ...] = ()
    """Taken from the table's column ``split``; all rows if empty."""
    components: tuple[ComponentOptions, ...] = ()
    training: tuple[str, ...] = ()
    """What models are trained on: tables like the others, or annotation files."""
    training_root: str | None = None
    training_splits: tuple[str, ...] = ("train",)
    """A row without a split counts as training."""
    compare_audio: bool = True
    """Whether training recordings are found by their sound too; reads all of them."""
    on_leak: Literal["drop", "refuse"] = "drop"
    hold_out: str = "paper"
    """Of ``unseen-*``: paper, rule (drawn by the seed), or a file of taxa."""
    hold_out_counts: dict[str, int] = field(default_factory=dict)
    """With ``hold_out: rule``: how many families, genera, species; 10, 50, 200 as in the paper."""
    hold_out_least: dict[str, int] = field(default_factory=dict)
    """With ``hold_out: rule``: recordings that the wider rank must have; 250, 250, 150 as in the paper."""
    seed: int = 0
    workers: int = 1
    """Processes; the rows don't depend on it."""
    output: str = ""
    format: Literal["parquet", "arrow"] = "parquet"
    """``arrow`` is what ``datasets.load_from_disk`` reads."""
    rows_per_shard: int = 500
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        if self.workers < 1 or self.rows_per_shard < 1:
            raise OptionsError("workers and rows_per_shard must be 1 or more")
        if not self.name.strip() or "/" in self.name:
            raise OptionsError(f"name must be a word or some, not {self.name!r}")
        levels = ("families", "genera", "species")
        for given in (self.hold_out_counts, self.hold_out_least):
            for level, count in given.items():
                if level not in levels or isinstance(count, bool) or not isinstance(count, int) or count < 0:
                    shown = ", ".join(levels)
                    raise OptionsError(
                        f"hold_out_*: {level}: {count!r} is no whole number for one of {shown}"
                    )
        named = Counter(one.title for one in self.components)
        for title, count in named.items():
            if count > 1:
                raise OptionsError(f"two components are called {title!r}: give one another name")


def component_of(rule: str) -> ComponentOptions:
    """Return a component by its rule alone.

    Raises:
        OptionsError: there is no such rule.
    """
    known = get_args(Rule)
    if rule not in known:
        hint = did_you_mean(rule, known) or f"; there are {', '.join(known)}"
        raise OptionsError(f"--component: there is no rule {rule!r}{hint}")
    return ComponentOptions(rule=cast(Rule, rule))
