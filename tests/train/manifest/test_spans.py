"""Events in one cell."""

from __future__ import annotations

import pytest

from naturelm_audio.train.manifest.spans import Span, parse_spans


@pytest.mark.parametrize(
    ("cell", "spans"),
    [
        ("", ()),
        ("0.5-1.2", (Span(0.5, 1.2),)),
        ("2-3.1 Robin; 0,5-1 Wren", (Span(0.5, 1.0, "Wren"), Span(2.0, 3.1, "Robin"))),
        ('[{"start": 1, "end": 2, "species": "Wren"}, [0, 1]]', (Span(0, 1), Span(1, 2, "Wren"))),
    ],
)
def test_spans_come_in_order(cell, spans):
    faults = []
    assert parse_spans(cell, faults) == spans
    assert faults == []


@pytest.mark.parametrize("cell", ["from one to two", "[1, 2]", "3-2", "[{}]"])
def test_what_is_no_span_is_a_fault(cell):
    faults = []
    parse_spans(cell, faults)
    assert len(faults) == 1
