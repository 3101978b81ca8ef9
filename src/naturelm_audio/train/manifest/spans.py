"""Events written into one cell of a table -> spans of time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from naturelm_audio.train.manifest.tables import folded, number

__all__ = ["Span", "parse_spans"]


@dataclass(frozen=True)
class Span:
    """Something heard from start to end; without a label it is what the recording is of."""

    start_seconds: float
    end_seconds: float
    label: str = ""
    scientific_name: str = ""


def parse_spans(cell: str, faults: list[str]) -> tuple[Span, ...]:
    """Return the spans of ``0.5-1.2;2-3.1 Robin`` or of a JSON list of objects or triples, in order.

    Faults are added to the list.
    """
    try:
        if cell.startswith("["):
            spans = [_json_event(one) for one in json.loads(cell)]
        else:
            spans = [_text_event(one.strip()) for one in cell.split(";") if one.strip()]
    except (ValueError, TypeError, KeyError, IndexError):
        faults.append(f"events: {cell[:60]!r} is not like '0.5-1.2;2-3.1 label'")
        return ()
    wrong = [span for span in spans if not 0 <= span.start_seconds < span.end_seconds]
    if wrong:
        faults.append(f"events: {wrong[0].start_seconds:g}-{wrong[0].end_seconds:g} is no span of time")
    return tuple(sorted(spans, key=lambda span: (span.start_seconds, span.end_seconds, span.label)))


def _text_event(text: str) -> Span:
    match = re.fullmatch(r"([\d.,]+)\s*-\s*([\d.,]+)(?:[\s:]+(.+))?", text)
    if match is None:
        raise ValueError(text)
    return Span(number(match[1]), number(match[2]), match[3] or "")


def _json_event(event: Any) -> Span:
    if isinstance(event, Mapping):
        names = {folded(str(key)): value for key, value in event.items()}
        start = names.get("startseconds", names.get("start", names.get("onset")))
        end = names.get("endseconds", names.get("end", names.get("offset")))
        label = str(names.get("label") or names.get("commonname") or names.get("species") or "")
        return Span(number(str(start)), number(str(end)), label, str(names.get("scientificname") or ""))
    return Span(number(str(event[0])), number(str(event[1])), str(event[2]) if len(event) > 2 else "")
