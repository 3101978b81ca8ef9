"""What conversions know besides rows: from the journal, else the rows, else the header, else not at all."""

from __future__ import annotations

import contextlib
import json
from fractions import Fraction
from pathlib import Path

import pytest
from format_rows import NAME, QUERY, RUN_ID, documented, row, write_rows

from naturelm_audio.formats.about import PlannedRun, Run, licence_of, separator_of
from naturelm_audio.formats.source import ResultFile


@pytest.fixture
def run_of(tmp_path: Path):
    """A function that makes the run of some rows, with what lies beside them."""
    with contextlib.ExitStack() as files:

        def make(*rows, state: dict | None = None, run: dict | None = None, **more) -> Run:
            path = write_rows(tmp_path / "results.jsonl", rows or documented())
            if state is not None:
                path.with_name("results.jsonl.state.jsonl").write_text(json.dumps(state) + "\n")
            if run is not None:
                path.with_name("results.jsonl.run.json").write_text(json.dumps(run))
            return Run(files.enter_context(ResultFile(path)), **more)

        yield make


FINISHED = {
    "path": NAME, "status": "ok", "rows": 2, "sample_rate_hz": 96_000, "channels": 2, "frames": 1_392_001,
    "duration_seconds": 14.50001, "file": f"/data/survey/{NAME}",
}  # fmt: skip


def test_the_journal_is_believed_before_the_rows(run_of):
    known = run_of(state=FINISHED).recording(NAME)
    assert (known.sample_rate_hz, known.channels, known.nyquist_hz) == (96_000, 2, 48_000.0)
    assert known.exact_seconds == Fraction(1_392_001, 96_000)
    assert (known.folder, known.sub_folder, known.file_name) == (
        "/data/survey", "site1", "S4A01_20240501_040000.wav",
    )  # fmt: skip
    assert known.path == f"/data/survey/{NAME}"


def test_rows_say_what_no_journal_says(run_of):
    known = run_of().recording(NAME)
    assert (known.sample_rate_hz, known.channels, known.exact_seconds) == (48_000, None, Fraction(29, 2))
    assert (known.folder, known.path) == ("", NAME)


def test_headers_are_read_where_the_recordings_are(run_of, tmp_path: Path, wav):
    wav("audio/a.wav", seconds=2, sample_rate_hz=22_050, channels=2)
    known = run_of(row(audio_path="a.wav", sample_rate=None), audio_root=tmp_path / "audio")
    found = known.recording("a.wav")
    assert (found.sample_rate_hz, found.channels, found.frames) == (22_050, 2, 44_100)
    assert found.path == str(tmp_path / "audio" / "a.wav")


def test_the_length_in_a_header_that_lies_is_not_taken(run_of, shared_dir: Path):
    """MP3 headers are estimates; a sequence of files must not be built on them."""
    name = "nri-GreenTreeFrogEvergladesNP.mp3"
    root = shared_dir / "recordings" / "examples"
    found = run_of(row(audio_path=name, sample_rate=None), audio_root=root).recording(name)
    assert found.sample_rate_hz == 44_100
    assert found.exact_seconds is None


@pytest.mark.parametrize(
    ("file", "name", "parts"),
    [
        ("/data/x/a/b.wav", "a/b.wav", ("/data/x", "a", "b.wav")),
        ("/b.wav", "b.wav", ("/", "", "b.wav")),
        ("/data/b.wav", "other/b.wav", ("/data", "", "b.wav")),
        ("/data/ü\udcff.wav", "ü\\xff.wav", ("/data", "", "ü\\xff.wav")),
        ("/data/a/b.wav", "/data/a/b.wav", ("/data/a", "", "b.wav")),
    ],
)
def test_the_parts_of_a_path_give_the_path(run_of, file: str, name: str, parts: tuple[str, ...]):
    known = run_of(row(audio_path=name), state=FINISHED | {"path": name, "file": file}).recording(name)
    assert (known.folder, known.sub_folder, known.file_name) == parts
    joined = "/".join(part.rstrip("/") for part in parts if part)
    assert known.path == joined or known.path == f"/{joined}".replace("//", "/")


@pytest.mark.parametrize("word", ["--audio-path", "--audio-path="])
def test_journals_of_older_versions_do_not_say_where_recordings_are(run_of, tmp_path: Path, wav, word: str):
    wav("survey/site1/a.wav", seconds=1, sample_rate_hz=22_050)
    told = ["--audio-path", "survey"] if word == "--audio-path" else ["--audio-path=survey"]
    run = {"run_id": RUN_ID, "directory": str(tmp_path), "command": ["naturelm", "infer", *told]}
    state = {"path": "site1/a.wav", "status": "ok", "rows": 1}
    known = run_of(row(audio_path="site1/a.wav", sample_rate=None), state=state, run=run).recording(
        "site1/a.wav"
    )
    assert (known.sample_rate_hz, known.folder) == (22_050, str(tmp_path / "survey"))


def test_questions_are_those_that_were_asked_even_without_a_row(run_of):
    run = run_of(run={"settings": {"queries": ["Never answered?", QUERY]}})
    assert run.queries == ["Never answered?", QUERY]


def test_recordings_without_rows_count_if_they_are_finished(run_of):
    inputs = [{"path": name} for name in (NAME, "quiet.wav", "late.wav")]
    run = run_of(state=FINISHED | {"path": "quiet.wav"}, run={"run_id": RUN_ID, "inputs": inputs})
    assert run.names == ["quiet.wav", NAME]
    assert run.unfinished == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_damage_beside_the_rows_costs_only_what_it_says(tmp_path: Path, text: str):
    path = write_rows(tmp_path / "results.jsonl", documented())
    for name in ("run.json", "state.jsonl"):
        path.with_name(f"results.jsonl.{name}").write_text(text)
    with ResultFile(path) as rows:
        run = Run(rows)
        assert run.names == [NAME]
        assert run.queries == [QUERY]
        assert run.provenance["model"] == "naturelm-audio"


def test_who_made_the_rows_is_in_every_provenance(run_of):
    run = run_of(run={"run_id": RUN_ID, "settings": {"seed": 7}, "inputs": [1]})
    assert run.provenance == {
        "run_id": RUN_ID,
        "settings": {"seed": 7},
        "licence_of_weights": "that of the weights used, see their model card",
    }
    assert run.made_at(None) == "2024-06-13T10:15:00Z"
    assert run.made_at("someone else's") == ""


def test_licences_of_known_weights():
    assert "non-commercial" in licence_of("naturelm-tiny")
    assert "CC BY-NC-SA 4.0" in licence_of("EarthSpeciesProject/NatureLM-audio")
    assert "model card" in licence_of(None)


def test_a_run_to_come_has_names_and_nothing_else():
    run = PlannedRun(["a.wav"], [QUERY])
    assert (run.names, run.queries, run.first("a.wav"), run.provenance) == (["a.wav"], [QUERY], None, {})


@pytest.mark.parametrize(
    ("folder", "separator"), [("D:\\x", "\\"), ("d:/x", "\\"), ("\\\\s\\x", "\\"), ("/x", "/")]
)
def test_windows_paths_have_their_separator(folder: str, separator: str):
    assert separator_of(folder) == separator
