"""`naturelm data`: from tables to questions and shards by commands; errors are lines, not tracebacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from naturelm_audio.train.commands import data


@pytest.fixture
def site(tmp_path):
    """A folder with three recordings and a table of them."""
    for number in range(3):
        samples = (np.sin(np.arange(32_000) / (5 + number)) * 9000).astype(np.int16)
        soundfile.write(tmp_path / f"{number}.wav", samples, 16_000)
    (tmp_path / "table.csv").write_text(
        "path,common_name,scientific_name,split\n0.wav,Wren,Troglodytes troglodytes,train\n"
        "1.wav,Robin,Erithacus rubecula,train\n2.wav,Zebra Finch,Taeniopygia guttata,train\n"
    )
    return tmp_path


def run(*arguments, code=0):
    result = CliRunner().invoke(data, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_compile_check_and_shard(site):
    out = run("compile", site / "table.csv", "-o", site / "rows.jsonl", "--report", site / "report.json")
    assert "held out: 1 recordings" in out
    assert "genus Taeniopygia (Taeniopygia guttata)" in out
    rows = [json.loads(line) for line in (site / "rows.jsonl").read_text().splitlines()]
    assert {row.get("path") for row in rows} <= {"0.wav", "1.wav", None}
    assert json.loads((site / "report.json").read_text())["rows"] == len(rows)
    assert f"{len(rows)} sound rows, 0 faulty" in run("check", site / "rows.jsonl")
    pytest.importorskip("datasets")
    assert "1 shards written, 0 were there" in run("shard", site / "rows.jsonl", site / "shards")
    assert "0 shards written, 1 were there" in run("shard", site / "rows.jsonl", site / "shards")


def test_nothing_is_held_out_if_so_wanted(site):
    run("compile", site / "table.csv", "-o", site / "rows.jsonl", "--hold-out", "none", "--tasks", "names")
    assert "Zebra Finch" in (site / "rows.jsonl").read_text()
    out = run("check", site / "rows.jsonl", code=2)
    assert "held out: genus Taeniopygia" in out or "Zebra Finch" in out
    (site / "mine.txt").write_text("Erithacus\n")
    run("compile", site / "table.csv", "-o", site / "rows.jsonl", "--hold-out", site / "mine.txt")
    assert "Robin" not in (site / "rows.jsonl").read_text()
    refused = run("compile", site / "table.csv", "-o", site / "x.jsonl", "--held-out", "refuse", code=2)
    assert "table.csv:4: held out: genus Taeniopygia" in refused
    assert not (site / "x.jsonl").exists()


def test_events_of_other_programs(site):
    (site / "0.selections.txt").write_text(
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
        "1\tSpectrogram 1\t1\t0.5\t1.0\twren\n"
        "2\tSpectrogram 1\t1\t1.2\t1.8\tZebra Finch\n"
    )
    (site / "1.txt").write_text("0.1\t0.5\tRobin\n")
    (site / "map.csv").write_text("from,to\nwren,Eurasian Wren\n")
    tables = (site / "0.selections.txt", site / "1.txt")
    out = run("compile", *tables, "-o", site / "e.jsonl", "--label-map", site / "map.csv")
    assert "labels that the map doesn't know" in out
    assert "held out: a text names Zebra Finch: 1 rows" in out
    (row,) = [json.loads(line) for line in (site / "e.jsonl").read_text().splitlines()]
    assert (row["text"], row["task"], row["path"]) == ("Robin", "common-detection", "1.wav")


def test_events_as_soundscapes(site):
    (site / "0.txt").write_text("0.1\t0.5\tWren\n1.0\t1.5\tRobin\n")
    (site / "1.txt").write_text("0.1\t0.5\tOwl\n")
    tables = (site / "0.txt", site / "1.txt")
    run("compile", *tables, "-o", site / "s.jsonl", "--events-as", "soundscape", "--rare-count", "0")
    rows = [json.loads(line) for line in (site / "s.jsonl").read_text().splitlines()]
    assert {row["task"] for row in rows} == {
        "common-soundscape-detection",
        "common-soundscape-detection-list",
    }
    assert {row["text"] for row in rows if row["task"].endswith("detection")} == {"Robin, Wren", "Owl"}


def test_a_recording_with_events_in_two_tables_is_one(site):
    (site / "0.txt").write_text("0.1\t0.5\tWren\n")
    (site / "b.csv").write_text("file,start,end,label\n0.wav,1.0,1.5,Robin\n")
    tables = (site / "0.txt", site / "b.csv")
    run("compile", *tables, "-o", site / "s.jsonl", "--events-as", "soundscape", "--rare-count", "0")
    rows = [json.loads(line) for line in (site / "s.jsonl").read_text().splitlines()]
    assert {row["text"] for row in rows if row["task"].endswith("detection")} == {"Robin, Wren"}


def test_mixtures_of_speakers_get_a_room(site):
    (site / "t.csv").write_text("path,label,kind,individual\n0.wav,a,speech,Ann\n1.wav,b,speech,Bob\n")
    (site / "rooms").mkdir()
    (site / "2.wav").rename(site / "rooms" / "hall.wav")
    given = ("compile", site / "t.csv", "-o", site / "s.jsonl", "--tasks", "counting")
    run(*given, "--impulse-responses", site / "rooms")
    rows = [json.loads(line) for line in (site / "s.jsonl").read_text().splitlines()]
    assert rows
    assert {row["mix"]["impulse_response"] for row in rows} == {"rooms/hall.wav"}
    assert "0 faulty" in run("check", site / "s.jsonl")


def test_a_folder_for_each_label(site):
    for number, name in enumerate(("Wren", "Robin")):
        (site / "set" / name).mkdir(parents=True)
        (site / f"{number}.wav").rename(site / "set" / name / "x.wav")
    run("compile", site / "set", "-o", site / "f.jsonl", "--valid-share", "0.5", "--tasks", "names")
    rows = [json.loads(line) for line in (site / "f.jsonl").read_text().splitlines()]
    assert sorted((row["path"], row["text"]) for row in rows) == [
        ("Robin/x.wav", "Robin"),
        ("Wren/x.wav", "Wren"),
    ]
    assert {row["split"] for row in rows} == {"train", "valid"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "nams"], "did you mean 'names'"),
        (["--language", "de"], "no names in 'de'"),
        (["--balance", "3"], "balance must be"),
        (["--kind", "events"], "no columns of start and end times"),
    ],
)
def test_wrong_use_is_one_line(site, arguments, message):
    out = run("compile", site / "table.csv", "-o", site / "x.jsonl", *arguments, code=2)
    assert out.startswith("Error: ")
    assert message in out
    assert "Traceback" not in out


def test_faulty_rows_are_all_told(site):
    with open(site / "table.csv", "a") as file:
        file.write("gone.wav,Owl,,\n0.wav,,,\n")
    out = run("compile", site / "table.csv", "-o", site / "x.jsonl", code=2)
    assert "table.csv:5: " in out
    assert "table.csv:6: the label is empty" in out
    assert "2  faulty row" in run("compile", site / "table.csv", "-o", site / "x.jsonl", "--drop-bad")
    (site / "bad.jsonl").write_text('{"path": "0.wav"}\n{"path": "9.wav", "prompt": "Q?", "text": "x"}\n')
    out = run("check", site / "bad.jsonl", code=2)
    assert "bad.jsonl:1: the prompt is empty; the answer 'text' is empty" in out
    assert "bad.jsonl:2: no such file: 9.wav" in out


def test_help_is_quick_to_import():
    import subprocess
    import sys

    heavy = "{'numpy', 'torch', 'datasets', 'soundfile'}"
    code = f"import sys, naturelm_audio.train.commands; sys.exit(bool({heavy} & set(sys.modules)))"
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(source)})
    assert done.returncode == 0
    for command in ("compile", "check", "shard"):
        assert "Usage" in run(command, "--help")


def test_recordings_kept_for_measuring_are_not_learned_from(site):
    (site / "bench").mkdir()
    (site / "bench" / "t.csv").write_text("path,common_name,recording_id\nx.wav,Wren,XC1\n")
    (site / "bench" / "x.wav").write_bytes((site / "1.wav").read_bytes())
    table = site / "ids.csv"
    table.write_text("path,common_name,recording_id\n0.wav,Wren,XC1\n1.wav,Robin,XC2\n2.wav,Owl,XC3\n")
    out = run(
        "compile", table, "-o", site / "k.jsonl", "--against", site / "bench" / "t.csv", "--compare-audio"
    )
    assert "held out: 2 recordings" in out
    assert "recording id" in out
    assert "the same audio" in out
    assert "Owl" in (site / "k.jsonl").read_text()
    assert "Robin" not in (site / "k.jsonl").read_text()
