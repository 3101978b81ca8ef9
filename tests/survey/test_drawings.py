"""Grids and curves as HTML and SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.survey.drawings import LEVELS, escaped, heat_map, level, line_chart, plural, short_number
from naturelm_audio.survey.grids import Column, Grid
from naturelm_audio.survey.richness import Accumulation


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.26, "0.3"),
        (999, "999"),
        (1000, "1k"),
        (1234, "1.2k"),
        (9960, "10k"),
        (31_400, "31k"),
        (2_500_000, "2.5M"),
    ],
)
def test_short_numbers(number, text):
    assert short_number(number) == text


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_levels_grow_with_counts_and_only_none_has_none(count, most):
    count = min(count, most)
    found = level(count, most)
    assert 0 <= found <= LEVELS
    assert (found == 0) == (count == 0)
    assert level(most, most) == LEVELS


@given(st.text())
def test_escaped_text_can_neither_open_a_tag_nor_leave_a_quote(text):
    shown = escaped(text)
    assert not set("<>\"'\n\x00\u202e") & set(shown)
    ElementTree.fromstring(f'<p title="{shown}">{shown}</p>')


def grid(counts: tuple[tuple[int, ...], ...], effort: tuple[float, ...]) -> Grid:
    columns = tuple(Column(str(place), f"day {place}", "May 2024") for place in range(len(effort)))
    return Grid("day", columns, tuple(f"<label> {place}" for place in range(len(counts))), counts, effort)


def test_a_heat_map_has_a_number_in_each_cell_and_marks_what_was_not_heard():
    drawn = heat_map(grid(((4, 0, 0), (1, 0, 0)), (2.0, 1.0, 0.0)), "by <day>")
    table = ElementTree.fromstring(f"<div>{drawn}</div>")
    rows = [[(cell.get("class"), cell.text) for cell in line.iter("td")] for line in table.iter("tr")]
    assert rows[2] == [("h8", "4"), (None, None), ("deaf", None)]
    assert rows[3] == [("h4", "1"), (None, None), ("deaf", None)]
    assert [cell.text for cell in table.iter("bdi")] == ["<label> 0", "<label> 1"]
    assert table.find(".//caption").text == "by <day>"
    assert {head.get("scope") for head in table.iter("th")} == {"row", "col", "colgroup"}


def test_the_legend_covers_all_counts_without_gaps():
    drawn = heat_map(grid(((1, 100),), (1.0, 1.0)), "x")
    items = ElementTree.fromstring(f"<div>{drawn}</div>").findall(".//li")
    texts = ["".join(item.itertext()) for item in items]
    assert texts[0] == "none"
    assert texts[1] == "1"
    assert texts[-2].endswith("to 100")
    assert texts[-1] == "not listened to"


@pytest.mark.parametrize("samples", [1, 3, 60, 12_345])
@pytest.mark.parametrize("labels", [1.0, 13.0, 4711.0])
def test_the_curve_stays_inside_its_frame(samples, labels):
    points = tuple((max(1, samples * step // 5), labels * step / 5) for step in range(1, 6))
    drawn = ElementTree.fromstring(line_chart(Accumulation("recordings", samples, points, None)))
    line = next(drawn.iter("polyline")).get("points")
    places = [tuple(map(float, pair.split(","))) for pair in line.split()]
    assert all(52 <= x <= 624.1 and 13.9 <= y <= 274.1 for x, y in places)
    assert drawn.get("role") == "img"
    assert (
        next(drawn.iter("title")).text
        == f"{labels:.0f} {plural(int(labels), 'label')} in {samples} recordings"
    )
