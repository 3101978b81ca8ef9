"""How an answer is generated."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.options.checks import mapping, real, refuse_unknown, typed, whole

__all__ = ["GenerateOptions", "inert_options"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """How an answer is generated; an option that would have no effect is refused by name.

    Raises:
        OptionsError: a value is out of range, or has no effect beside the others.
    """

    max_new_tokens: int = field(default=300, metadata={"help": "longest answer, in tokens"})
    num_beams: int = field(default=2, metadata={"help": "beams searched; 1 is greedy"})
    do_sample: bool = field(default=False, metadata={"help": "draw tokens at random"})
    temperature: float | None = field(default=None, metadata={"help": "sampling temperature"})
    top_p: float | None = field(default=None, metadata={"help": "share of probability sampled from"})
    repetition_penalty: float = field(default=1.0, metadata={"help": "above 1 avoids words already said"})
    length_penalty: float = field(default=1.0, metadata={"help": "above 1 prefers longer beams"})
    merging_alpha: float = field(default=1.0, metadata={"help": "0 is the base model, 1 the tuned one"})
    seed: int = field(default=0, metadata={"help": "of the random draws; equal seeds give equal answers"})

    def __post_init__(self) -> None:
        """Check every field."""
        whole(self.max_new_tokens, "max_new_tokens", at_least=1)
        whole(self.num_beams, "num_beams", at_least=1)
        if not isinstance(self.do_sample, bool):
            raise OptionsError(f"do_sample must be true or false, found {self.do_sample!r}")
        if self.temperature is not None:
            real(self.temperature, "temperature", above=0.0)
        if self.top_p is not None:
            real(self.top_p, "top_p", above=0.0, at_most=1.0)
        real(self.repetition_penalty, "repetition_penalty", above=0.0)
        real(self.length_penalty, "length_penalty")
        real(self.merging_alpha, "merging_alpha", at_least=0.0, at_most=1.0)
        whole(self.seed, "seed", at_least=0)
        for name, reason in inert_options(dataclasses.asdict(self)).items():
            raise OptionsError(f"{name} has no effect {reason}: leave it out")

    @classmethod
    def from_config(cls, section: Mapping[str, Any] | None, where: str = "generate") -> GenerateOptions:
        """Return the options of a ``generate:`` section; null and an empty section are the defaults.

        Official files set options that have no effect. They are dropped, and one log line names them.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        values = dict(mapping(section, where))
        refuse_unknown(values, [*known, "min_length"], where)
        values = {name: value for name, value in values.items() if value is not None}
        inert = inert_options(values)
        if inert:
            listed = "; ".join(f"{name} ({reason})" for name, reason in sorted(inert.items()))
            logger.warning("%s: options without effect are ignored: %s", where, listed)
        kept = {name: typed(cls, name, value, where) for name, value in values.items() if name not in inert}
        try:
            return cls(**kept)
        except OptionsError as error:
            raise OptionsError(f"{where}.{error}") from None


def inert_options(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the options among ``values`` that would change nothing, each with the reason."""
    found: dict[str, str] = {}
    if values.get("min_length") is not None:
        found["min_length"] = "because it would count the prompt"
    if not values.get("do_sample", False):
        for name in ("temperature", "top_p", "seed"):
            if values.get(name) not in (None, 0):
                found[name] = "without do_sample"
    if values.get("num_beams", 2) == 1 and values.get("length_penalty", 1.0) != 1.0:
        found["length_penalty"] = "with num_beams 1"
    return found
