"""Annotation files in three forms: written, read back, and their faults told with lines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OutputError
from naturelm_audio.train.manifest.annotations import check_annotations, read_annotations, write_annotations
from naturelm_audio.train.manifest.examples import Example, MixPart, Recipe
from naturelm_audio.train.manifest.mixing import load_clips
from naturelm_audio.train.manifest.problems import ManifestError

GOOD = '{"path": "a.wav", "prompt": "Q?", "text": "wren"}'
ROWS = [
    Example(files=("a.wav",), prompt="Q?", text="Wren, Robin", task="x-detection", labels=("Wren", "Robin")),
    Example(files=("a.wav", "b.wav"), prompt="Same?", text="ja — ñ \u2028 \n", start_seconds=0.5, weight=2.0),
    Example(files=(), prompt="How many?", text="1", mix=Recipe(parts=(MixPart(path="a.wav"),)), split="valid",
            metadata={"species": "Tyto alba"}),
]  # fmt: skip


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet", "deep/rows.jsonl"])
def test_rows_come_back(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    assert write_annotations(tmp_path / name, ROWS) == 3
    assert read_annotations(tmp_path / name, check_files=False) == ROWS
    assert not list(tmp_path.rglob(".*.tmp"))


def test_the_official_wrapped_form_on_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'{{"annotation":[{GOOD},{GOOD}]}}')
    assert len(read_annotations(path, check_files=False)) == 2
    path.write_text('{"annotation": []}')
    with pytest.raises(ManifestError, match="holds no row"):
        read_annotations(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_marks_and_line_ends(tmp_path, encoding, line_end):
    path = tmp_path / "a.jsonl"
    path.write_bytes(line_end.join([GOOD, "", GOOD, ""]).encode(encoding))
    assert len(read_annotations(path, check_files=False)) == 2


def test_all_bad_rows_at_once_with_their_lines(tmp_path, audio):
    audio("a.wav")
    path = tmp_path / "a.jsonl"
    lines = [GOOD, "{", '{"path": "gone.wav", "prompt": "Q", "text": "x"}', "[1]",
             '{"path": "a.wav", "prompt": "Q", "txt": "x"}', GOOD.replace('"wren"', "NaN")]  # fmt: skip
    path.write_text("\n".join(lines))
    with pytest.raises(ManifestError) as caught:
        read_annotations(path)
    problems = caught.value.problems
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6]
    parts = ["not JSON", "no such file: gone.wav", "not an object", "did you mean 'text'", "NaN is not"]
    for problem, part in zip(problems, parts, strict=True):
        assert part in problem.reason
        assert f"{path}:{problem.line}" in str(caught.value)
    assert len(read_annotations(path, drop_bad=True)) == 1


def test_lines_of_the_wrapped_form(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"annotation": [\n' + GOOD + ',\n{"path": "a"},\n' + GOOD + "\n]}")
    _, problems = check_annotations(path, check_files=False)
    assert [problem.line for problem in problems] == [3]
    path.write_text('{"annotation": [\n' + GOOD + "\n" + GOOD + "]}")
    with pytest.raises(ManifestError, match=r":2: not JSON: a comma"):
        check_annotations(path, check_files=False)


def test_a_thousand_faults_are_all_kept_and_a_hundred_shown(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(["{}"] * 1000))
    with pytest.raises(ManifestError, match="and 900 more") as caught:
        read_annotations(path)
    assert len(caught.value.problems) == 1000


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_every_line_is_a_row_or_a_fault(tmp_path_factory, kinds):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    lines = [GOOD, "{", "", '{"path": 3}', json.dumps({"path": "a", "prompt": "é\u2028", "text": "x"})]
    path.write_text("\n".join(lines[kind] for kind in kinds), encoding="utf-8")
    examples, problems = check_annotations(path, check_files=False)
    assert len(examples) == sum(kind in (0, 4) for kind in kinds)
    assert [problem.line for problem in problems] == [n for n, kind in enumerate(kinds, 1) if kind in (1, 3)]


def test_files_are_below_the_root_also_with_backslashes(tmp_path, audio):
    audio("sub/a.wav")
    path = tmp_path / "elsewhere.jsonl"
    path.write_text(GOOD.replace("a.wav", "sub\\\\a.wav"))
    assert len(read_annotations(path)) == 1
    with pytest.raises(ManifestError, match="no such file"):
        read_annotations(path, audio_root=tmp_path / "sub")


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"name it \.jsonl"):
        write_annotations(tmp_path / "a.txt", ROWS)
    with pytest.raises(ManifestError, match="can't be read"):
        read_annotations(tmp_path / "none.jsonl")


# --- lines of the specification's list of faults ------------------------------------------------------------


def test_T1_the_manifest_is_validated_before_training(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"path": "a.wav", "promt": "Q?", "text": "wren"}\n{"path": "a.wav", "prompt": "Q?"}\n')
    with pytest.raises(
        ManifestError, match=r"2 faults[\s\S]*a.jsonl:1: .*'promt'[\s\S]*a.jsonl:2: .*'text' is empty"
    ):
        read_annotations(path, check_files=False)


def test_T8_a_list_of_one_file_is_as_good_as_a_path(tmp_path, audio):
    audio("a.wav")
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD + "\n" + GOOD.replace('"path": "a.wav"', '"files": ["a.wav"]'))
    one, two = read_annotations(path)
    assert one == two
    assert two.full_prompt.count("<AudioHere>") == 1


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_T8_any_rate_and_format_is_resampled(tmp_path, audio, rate, suffix):
    audio(f"a.{suffix}", seconds=1.0, sample_rate_hz=rate)
    (clip,) = load_clips(Example(files=(f"a.{suffix}",), prompt="Q?", text="x"), tmp_path)
    assert abs(len(clip) - 16_000) <= 1
    spectrum = np.abs(np.fft.rfft(clip))
    assert abs(spectrum.argmax() * 16_000 / len(clip) - 440) < 2


def test_X12_unknown_keys_are_named_with_a_hint(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD.replace("prompt", "instructions"))
    with pytest.raises(ManifestError, match="unknown key 'instructions'; did you mean 'instruction'"):
        read_annotations(path)
