"""Which labels of an answer are annotations, and which windows become one."""

from __future__ import annotations

import pytest
from format_rows import QUERY, row
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OptionsError
from naturelm_audio.formats.annotations import Annotation, Merger, annotations_of, band_hz, keeps_row
from naturelm_audio.formats.choices import FormatOptions
from naturelm_audio.records import Answer, Label

PLAIN = FormatOptions()
RANKED = tuple(
    Label(label=name, score=score) for name, score in (("wren", 0.6), ("robin", 0.3), ("None", 0.1))
)


def found(answer: Answer, **options: object) -> list[str]:
    return [one.label for one in annotations_of(answer, FormatOptions(**options))]


def merged(rows: list[Answer]) -> list[Annotation]:
    merger = Merger()
    ready = [one for answer in rows for one in merger.add(answer, annotations_of(answer, PLAIN))]
    return [*ready, *merger.flush()]


def spans(rows: list[Answer]) -> list[tuple[str, float, float, int]]:
    return [(one.label, one.start_seconds, one.end_seconds, one.windows) for one in merged(rows)]


@pytest.mark.parametrize("text", ["None", "none", " NONE ", ""])
def test_none_is_no_annotation_unless_it_is_kept(text: str):
    assert found(row(output=text)) == []
    assert found(row(output=text), keep_none=True) == ([text] if text else [])


def test_of_a_ranking_the_best_are_taken_and_of_a_list_all():
    ranking = row(output="wren", labels=RANKED, confidence=0.6, confidence_kind="label_softmax")
    assert found(ranking) == ["wren"]
    assert found(ranking, top_k=3) == ["wren", "robin"]
    named = row(output="wren, robin", labels=RANKED[:2], confidence=0.6, confidence_kind="token_probability")
    assert found(named) == ["wren", "robin"]


def test_an_answer_without_labels_is_one_annotation_unless_it_is_split():
    answer = row(output="Beluga, White Whale, Beluga")
    assert found(answer) == ["Beluga, White Whale, Beluga"]
    assert found(answer, split_answers=True) == ["Beluga", "White Whale"]


def test_the_least_score_and_the_species_decide():
    answer = row(output="wren, robin", labels=RANKED[:2])
    assert found(answer, min_confidence=0.5) == ["wren"]
    assert found(answer, species=frozenset({"robin"})) == ["robin"]
    assert found(row(output="frog"), min_confidence=0.5) == ["frog"], "what has no score stays"


def test_tables_of_rows_are_filtered_alike_and_keep_errors():
    answer = row(output="wren", labels=RANKED[:1], confidence=0.4)
    assert not keeps_row(answer, FormatOptions(min_confidence=0.5))
    assert keeps_row(answer, FormatOptions(species=frozenset({"wren"})))
    assert not keeps_row(answer, FormatOptions(species=frozenset({"robin"})))
    assert keeps_row(row(None, None, None, error="x: y"), FormatOptions(min_confidence=0.5))


@pytest.mark.parametrize("options", [{"min_confidence": 2.0}, {"min_confidence": -1.0}, {"top_k": 0}])
def test_options_out_of_range_are_named(options: dict[str, float]):
    with pytest.raises(OptionsError, match="must be"):
        FormatOptions(**options)
    with pytest.raises(OptionsError, match="empty"):
        FormatOptions(species=frozenset())


def test_W7_equal_windows_that_overlap_are_one():
    assert spans([row(5 * n, 5 * n + 10) for n in range(4)]) == [("wren", 0.0, 25.0, 4)]


def test_W7_another_answer_or_none_or_a_failure_ends_a_run():
    for between in ("robin", "None"):
        rows = [row(0, 10), row(5, 15, between), row(10, 20)]
        assert [one for one in spans(rows) if one[0] == "wren"] == [
            ("wren", 0.0, 10.0, 1),
            ("wren", 10.0, 20.0, 1),
        ]
    error = row(5, 15, None, error="out_of_memory: x")
    assert len(spans([row(0, 10), error, row(10, 20)])) == 2


def test_W7_a_gap_ends_a_run_and_touching_does_not():
    assert spans([row(0, 10), row(10, 20), row(20.5, 30)]) == [
        ("wren", 0.0, 20.0, 2),
        ("wren", 20.5, 30.0, 1),
    ]


def test_questions_and_channels_are_merged_by_themselves():
    rows = [row(10 * n, 10 * n + 10, query=query, channel=channel)
            for n in range(2) for query in (QUERY, "Who?") for channel in (1, 2)]  # fmt: skip
    assert sorted(spans(rows)) == [("wren", 0.0, 20.0, 2)] * 4


def test_the_score_of_a_run_is_the_mean_of_those_known():
    rows = [row(10 * n, 10 * n + 10, confidence=score) for n, score in enumerate((0.2, None, 0.6, 0.7))]
    (only,) = merged(rows)
    assert only.score == pytest.approx(0.5)


def test_a_label_that_an_answer_names_twice_counts_once():
    twice = tuple(Label(label="wren") for _ in range(2))
    assert spans([row(0, 10, labels=twice), row(10, 20, labels=twice)]) == [("wren", 0.0, 20.0, 2)]


plans = st.lists(st.sampled_from(["wren", "robin", "None", "wren, robin"]), max_size=12)


@given(plans, st.sampled_from([5.0, 10.0, 12.0]))
def test_merging_keeps_order_and_covers_the_same_seconds(outputs: list[str], hop: float):
    """Against the plain definition: neighbours in the list of a label's windows are joined."""
    options = FormatOptions(split_answers=True)
    rows = [row(hop * n, hop * n + 10, text) for n, text in enumerate(outputs)]
    merger = Merger()
    ready = [one for answer in rows for one in merger.add(answer, annotations_of(answer, options))]
    ready += merger.flush()
    assert [one.start_seconds for one in ready] == sorted(one.start_seconds for one in ready)
    expected = []
    for label in ("wren", "robin"):
        run: list[int] = []
        for n in range(len(outputs) + 1):
            has = n < len(outputs) and label in outputs[n].split(", ")
            if has and (hop <= 10 or not run):
                run.append(n)
            elif run:
                expected.append((label, hop * run[0], hop * run[-1] + 10, len(run)))
                run = [n] if has else []
    assert sorted((one.label, one.start_seconds, one.end_seconds, one.windows) for one in ready) == sorted(
        expected
    )


@given(st.floats(1, 1e6), st.floats(0, 1e6), st.floats(0.001, 1e6))
def test_X2_a_band_is_within_the_file(nyquist: float, low: float, high: float):
    band = band_hz(row(low_freq_hz=low, high_freq_hz=high), nyquist)
    assert band is None or 0 <= band[0] < band[1] <= nyquist
