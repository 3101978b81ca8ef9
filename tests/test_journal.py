"""The journal: whatever happens to the process, a resumed file equals that of an unbroken run."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio.errors import OutputError
from naturelm_audio.files import LineFile, write_atomically
from naturelm_audio.journal import Journal, RecordingState, read_answers
from naturelm_audio.records import Answer

ROOT = Path(__file__).parents[1]
SETTINGS = {"queries": ["What is it?", "Caption"], "generate": {"num_beams": 2}, "channel": None}


@dataclass(frozen=True)
class Recording:
    name: str
    path: Path


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch):
    """Hundreds of runs need no guard against power cuts."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    """Three recordings; the second one fails after its first window."""
    folder = tmp_path / "sound"
    folder.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        (folder / name).write_bytes(name.encode() * 10)
    return [Recording(f"site/{item.name}", item) for item in sorted(folder.iterdir())]


def rows_of(recording: Recording) -> list[Answer]:
    """What the model would say: two windows of two questions."""
    failing = recording.name.endswith("b.wav")
    rows = [
        Answer(
            audio_path=recording.name,
            start_seconds=10.0 * window,
            end_seconds=10.0 * window + 10,
            query=query,
            output=f"{recording.name} ü\n{window}",
        )
        for window in range(1 if failing else 2)
        for query in SETTINGS["queries"]  # type: ignore[attr-defined]
    ]
    if failing:
        rows.append(
            Answer(
                audio_path=recording.name,
                start_seconds=None,
                end_seconds=None,
                query="What is it?",
                output=None,
                error="audio_decode_failed: truncated",
            )
        )
    return rows


def steps(journal: Journal, recordings: Sequence[Recording]) -> Iterator[None]:
    """Answer what remains, as the pipeline does, stopping after every write."""
    for recording in journal.remaining(recordings):
        for row in rows_of(recording)[journal.rows_on_file.get(recording.name, 0) :]:
            journal.append(row, recording)
            yield
        error = "audio_decode_failed: truncated" if recording.name.endswith("b.wav") else None
        journal.finish(recording, windows=2, error=error)
        yield


def run(output: Path, recordings: Sequence[Recording], mode: str = "new") -> Journal:
    with Journal.open(output, mode=mode, settings=SETTINGS) as journal:  # type: ignore[arg-type]
        for _ in steps(journal, recordings):
            pass
    return journal


def without_run_id(path: Path) -> str:
    return re.sub(r'"run_id":"[^"]*"', "", path.read_text(encoding="utf-8"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def whole(tmp_path: Path, recordings: list[Recording]) -> str:
    """The rows of an unbroken run."""
    run(tmp_path / "whole.jsonl", recordings)
    return without_run_id(tmp_path / "whole.jsonl")


class TestRun:
    def test_rows_are_in_order_and_traceable(self, output: Path, recordings: list[Recording]):
        journal = run(output, recordings)
        rows = list(read_answers(output))
        assert [row.audio_path[-5:] for row in rows] == ["a.wav"] * 4 + ["b.wav"] * 3 + ["c.wav"] * 4
        assert {row.run_id for row in rows} == {journal.run_id}
        assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", journal.run_id)
        assert journal.failed == ["site/b.wav"]
        assert journal.row_count == 11

    def test_each_row_is_on_file_before_the_next_is_made(self, output: Path, recordings: list[Recording]):
        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            for _ in steps(journal, recordings):
                assert len(list(read_answers(output))) == journal.row_count

    def test_the_run_file_says_how_it_was_made(self, output: Path, recordings: list[Recording]):
        with Journal.open(output, mode="new", settings=SETTINGS, about={"command": ["naturelm"]}) as journal:
            journal.confirm("model", {"name": "toy", "weights": "abc"})
            journal.note(device="cpu")
            list(steps(journal, recordings))
        content = json.loads(journal.run_file.path.read_text())
        assert content["settings"] == {**SETTINGS, "model": {"name": "toy", "weights": "abc"}}
        assert (content["command"], content["device"], content["status"]) == (["naturelm"], "cpu", "finished")
        assert content["inputs"][0] == {"path": "site/a.wav", "size": 50}
        assert content["counts"] == {"recordings": 3, "finished": 3, "failed": 1, "rows": 11}
        assert content["run_id"] == journal.run_id
        assert content["started"] <= content["ended"]

    def test_the_journal_says_what_is_finished(self, output: Path, recordings: list[Recording]):
        journal = run(output, recordings)
        lines = [RecordingState.from_json(line) for line in journal.state_path.read_text().splitlines()]
        assert [line.status for line in lines] == ["begun", "ok", "begun", "failed", "begun", "ok"]
        assert (lines[1].rows, lines[1].windows, lines[1].size) == (4, 2, 50)
        assert lines[1].mtime_ns == recordings[0].path.stat().st_mtime_ns

    @pytest.mark.parametrize(
        ("error", "status"),
        [(KeyboardInterrupt, "interrupted"), (OutputError, "stopped"), (OSError, "stopped")],
    )
    def test_the_run_file_says_how_it_ended(
        self, output: Path, recordings: list[Recording], error: type[BaseException], status: str
    ):
        journal = Journal.open(output, mode="new", settings=SETTINGS)
        with pytest.raises(error), journal:  # noqa: PT012  (the journal's block is the case)
            next(steps(journal, recordings))
            raise error("x")
        assert json.loads(journal.run_file.path.read_text())["status"] == status

    def test_nothing_else_is_left_in_the_folder(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        names = sorted(item.name for item in output.parent.iterdir() if item.is_file())
        assert names == ["out.jsonl", "out.jsonl.run.json", "out.jsonl.state.jsonl"]


class TestResume:
    def test_a_finished_run_has_nothing_left(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        before = output.read_bytes()
        with Journal.open(output, mode="resume", settings=SETTINGS) as journal:
            assert journal.remaining(recordings) == []
            assert journal.failed == ["site/b.wav"]
            assert journal.resumed
        assert output.read_bytes() == before

    def test_without_a_file_it_begins(self, output: Path, recordings: list[Recording], whole: str):
        assert not run(output, recordings, "resume").resumed
        assert without_run_id(output) == whole

    def test_a_kill_at_any_byte_loses_and_repeats_nothing(
        self, output: Path, recordings: list[Recording], whole: str
    ):
        """States of both files that a kill can leave: so many whole writes, and a part of the next."""
        journal = Journal.open(output, mode="new", settings=SETTINGS)
        moments = [(b"", b"")]
        for _ in steps(journal, recordings[:2]):
            moments.append((output.read_bytes(), journal.state_path.read_bytes()))
        journal.close("stopped")
        run_file = journal.run_file.path.read_bytes()
        for (rows, state), (next_rows, next_state) in itertools.pairwise(moments):
            # The line "begun" is written before the first row of a recording.
            torn_state = [(rows, next_state[:end]) for end in range(len(state), len(next_state) + 1, 4)]
            torn_rows = [(next_rows[:end], next_state) for end in range(len(rows), len(next_rows) + 1, 4)]
            for left_rows, left_state in torn_state + torn_rows:
                output.write_bytes(left_rows)
                journal.state_path.write_bytes(left_state)
                journal.run_file.path.write_bytes(run_file)
                resumed = run(output, recordings, "resume")
                assert without_run_id(output) == whole
                assert resumed.run_id == journal.run_id
                assert resumed.failed == ["site/b.wav"]

    @settings(max_examples=60, deadline=None)
    @given(kept=st.floats(0, 1))
    def test_a_lost_end_of_the_journal_is_made_up_for(
        self, kept: float, tmp_path_factory: pytest.TempPathFactory
    ):
        """After a power cut the rows can be on the disk and the journal's last lines not."""
        folder = tmp_path_factory.mktemp("power")
        recordings = [Recording(name, folder / name) for name in ("a.wav", "b.wav", "c.wav")]
        for recording in recordings:
            recording.path.write_bytes(b"x")
        journal = run(folder / "out.jsonl", recordings)
        before = journal.output.read_bytes()
        state = journal.state_path.read_bytes()
        journal.state_path.write_bytes(state[: round(kept * len(state))])
        assert run(journal.output, recordings, "resume").failed == ["b.wav"]
        assert journal.output.read_bytes() == before

    @settings(max_examples=60, deadline=None)
    @given(kept=st.floats(0, 1))
    def test_rows_that_are_gone_are_never_taken_for_answered(
        self, kept: float, tmp_path_factory: pytest.TempPathFactory
    ):
        folder = tmp_path_factory.mktemp("cut")
        recordings = [Recording(name, folder / name) for name in ("a.wav", "c.wav")]
        for recording in recordings:
            recording.path.write_bytes(b"x")
        journal = run(folder / "out.jsonl", recordings)
        before = journal.output.read_bytes()
        journal.output.write_bytes(before[: round(kept * len(before))])
        if round(kept * len(before)) == len(before):
            run(journal.output, recordings, "resume")
        else:
            with pytest.raises(OutputError, match=r"has \d rows of [ac]\.wav where its journal has 4"):
                run(journal.output, recordings, "resume")

    def test_the_process_is_killed_many_times(self, output: Path, recordings: list[Recording], whole: str):
        script = textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from test_journal import Recording, run, rows_of, steps, SETTINGS
            from naturelm_audio.journal import Journal
            output, folder = Path(sys.argv[1]), Path(sys.argv[2])
            files = [Recording(f"site/{item.name}", item) for item in sorted(folder.iterdir())]
            with Journal.open(output, mode="resume", settings=SETTINGS) as journal:
                for _ in steps(journal, files):
                    time.sleep(0.02)
            """
        )
        search = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        command = [sys.executable, "-c", script, str(output), str(recordings[0].path.parent)]
        chance = random.Random(1)
        for _ in range(8):
            size = output.stat().st_size if output.exists() else -1
            process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": search})
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and process.poll() is None:
                if output.exists() and output.stat().st_size > size:
                    break
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.04))
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(command, env=os.environ | {"PYTHONPATH": search}, check=True)
        assert without_run_id(output) == whole
        assert len({row.run_id for row in read_answers(output)}) == 1

    def test_new_recordings_come_last(self, output: Path, recordings: list[Recording]):
        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            for _, _ in zip(range(3), steps(journal, recordings[1:]), strict=False):
                pass
        run(output, recordings, "resume")
        names = [row.audio_path[-5] for row in read_answers(output)]
        assert names == ["b"] * 3 + ["a"] * 4 + ["c"] * 4


class TestResumeRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"channel": 2}, "channel null, now it is 2"),
            ({"queries": ["Other"]}, 'queries ["What is it?", "Caption"], now it is ["Other"]'),
            ({"generate": {"num_beams": 1}}, "generate.num_beams 2, now it is 1"),
            ({"hop": 1.0}, "hop null, now it is 1.0"),
        ],
    )
    def test_other_settings_are_named(
        self, output: Path, recordings: list[Recording], change: dict[str, object], message: str
    ):
        run(output, recordings)
        before = output.read_bytes()
        with pytest.raises(OutputError, match=re.escape(message)) as caught:
            Journal.open(output, mode="resume", settings={**SETTINGS, **change})
        assert "--overwrite" in str(caught.value)
        assert output.read_bytes() == before

    def test_another_model_is_named(self, output: Path, recordings: list[Recording]):
        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            journal.confirm("model", {"name": "toy", "weights": "abc"})
        with Journal.open(output, mode="resume", settings=SETTINGS) as journal:
            journal.confirm("model", {"name": "toy", "weights": "abc"})
            with pytest.raises(OutputError, match=re.escape('model.weights "abc", now it is "def"')):
                journal.confirm("model", {"name": "toy", "weights": "def"})

    @pytest.mark.parametrize("finished", [True, False])
    def test_a_changed_recording_is_named(self, output: Path, recordings: list[Recording], finished: bool):
        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            for _, _ in zip(range(100 if finished else 2), steps(journal, recordings), strict=False):
                pass
        recordings[0].path.write_bytes(b"other")
        with pytest.raises(OutputError, match=r"a\.wav: has changed .* had 50 bytes and has 5"):
            run(output, recordings, "resume")

    def test_a_recording_saved_anew_is_named(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        os.utime(recordings[2].path, ns=(1, 1))
        with pytest.raises(OutputError, match=r"c\.wav: has changed"):
            run(output, recordings, "resume")

    def test_the_interrupted_recording_must_be_there(self, output: Path, recordings: list[Recording]):
        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            next(steps(journal, recordings))
        with pytest.raises(OutputError, match=r"a\.wav is not among the inputs any more"):
            run(output, recordings[1:], "resume")

    def test_a_finished_recording_may_be_gone(self, output: Path, recordings: list[Recording]):
        run(output, recordings[:2])
        run(output, recordings[1:], "resume")
        assert len(list(read_answers(output))) == 11

    def test_rows_without_a_run_file(self, output: Path, recordings: list[Recording]):
        run(output, recordings).run_file.path.unlink()
        with pytest.raises(OutputError, match=r"can't be resumed without out\.jsonl\.run\.json"):
            run(output, recordings, "resume")

    @pytest.mark.parametrize("content", ["{", "[]", "{}"])
    def test_a_damaged_run_file(self, output: Path, recordings: list[Recording], content: str):
        run(output, recordings).run_file.path.write_text(content)
        with pytest.raises(OutputError, match=r"out\.jsonl\.run\.json"):
            run(output, recordings, "resume")

    @pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.state.jsonl"])
    def test_a_damaged_line_is_named(self, output: Path, recordings: list[Recording], name: str):
        run(output, recordings)
        path = output.parent / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], "garbage\n", *lines[2:]]))
        with pytest.raises(OutputError, match=re.escape(name) + ", line 2: not a"):
            run(output, recordings, "resume")

    def test_text_that_is_not_utf8(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        output.write_bytes(b"\xff\xfe\n")
        with pytest.raises(OutputError, match="not UTF-8"):
            run(output, recordings, "resume")

    def test_lost_rows(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        output.unlink()
        with pytest.raises(OutputError, match=r"has 0 rows of site/a\.wav where its journal has 4"):
            run(output, recordings, "resume")

    def test_two_recordings_of_one_name(self, output: Path, recordings: list[Recording]):
        twin = Recording(recordings[0].name, recordings[1].path)
        with pytest.raises(OutputError, match=r"would both be called site/a\.wav"):
            run(output, [*recordings, twin])


class TestOverwrite:
    def test_it_begins_again(self, output: Path, recordings: list[Recording], whole: str):
        first = run(output, recordings)
        second = run(output, recordings, "overwrite")
        assert without_run_id(output) == whole
        assert first.run_id != second.run_id

    @pytest.mark.parametrize("moment", ["run", "rows", "state"])
    def test_a_kill_while_it_begins_leaves_no_old_rows(
        self, output: Path, recordings: list[Recording], whole: str, moment: str
    ):
        """The moments of `_begin`: the run file is replaced, the rows are cut, the journal is cut."""
        journal = run(output, recordings)
        state = json.loads(journal.run_file.path.read_text()) | {"run_id": "new", "status": "starting"}
        journal.run_file.path.write_text(json.dumps(state))
        if moment in ("rows", "state"):
            output.write_bytes(b"")
        if moment == "state":
            journal.state_path.write_bytes(b"")
        resumed = run(output, recordings, "resume")
        assert without_run_id(output) == whole
        assert resumed.run_id not in ("new", journal.run_id)


class TestNoLitter:
    """A run that fails before its first row can simply be started again."""

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError])
    def test_a_run_without_rows_leaves_no_files(
        self, output: Path, recordings: list[Recording], error: type[BaseException]
    ):
        journal = Journal.open(output, mode="new", settings=SETTINGS)
        with pytest.raises(error), journal:  # noqa: PT012  (the journal's block is the case)
            journal.remaining(recordings)
            raise error("no model")
        assert list(output.parent.glob("out*")) == []

    def test_a_resumed_run_keeps_its_files(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        before = output.read_bytes()
        journal = Journal.open(output, mode="resume", settings=SETTINGS)
        with pytest.raises(OutputError), journal:
            raise OutputError("no model")
        assert output.read_bytes() == before
        run(output, recordings, "resume")

    def test_an_empty_file_is_as_good_as_none(self, output: Path, recordings: list[Recording], whole: str):
        """What a kill leaves that comes before the first row."""
        output.touch()
        run(output, recordings)
        assert without_run_id(output) == whole


class TestRefused:
    def test_an_existing_file(self, output: Path, recordings: list[Recording]):
        output.write_text("mine")
        with pytest.raises(OutputError, match="exists already: continue it with --resume"):
            run(output, recordings)
        assert output.read_text() == "mine"
        assert sorted(output.parent.glob("out.jsonl*")) == [output]

    def test_a_folder(self, tmp_path: Path):
        with pytest.raises(OutputError, match="is a folder"):
            Journal.open(tmp_path, mode="new", settings=SETTINGS)

    def test_a_folder_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(OutputError, match=r"there is no folder .*nowhere: create it first"):
            Journal.open(tmp_path / "nowhere" / "out.jsonl", mode="new", settings=SETTINGS)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_is_not_writable(self, tmp_path: Path):
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
        with pytest.raises(OutputError, match=r"can't be written: Permission denied"):
            Journal.open(folder / "out.jsonl", mode="new", settings=SETTINGS)

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nobody may create files")
    @pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
    def test_a_place_where_nobody_may_write(self, mode: str):
        with pytest.raises(OutputError, match=r"/proc/out\.jsonl: can't be written"):
            Journal.open("/proc/out.jsonl", mode=mode, settings=SETTINGS)  # type: ignore[arg-type]

    @pytest.mark.parametrize("mode", ["resume", "overwrite"])
    def test_a_file_in_use(self, output: Path, recordings: list[Recording], mode: str):
        pytest.importorskip("fcntl")
        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            next(steps(journal, recordings))
            before = output.read_bytes()
            with pytest.raises(OutputError, match="another process is writing to it"):
                Journal.open(output, mode=mode, settings=SETTINGS)  # type: ignore[arg-type]
            assert output.read_bytes() == before
        run(output, recordings, "resume")

    def test_a_failed_opening_lets_the_file_go(self, output: Path, recordings: list[Recording]):
        run(output, recordings)
        with pytest.raises(OutputError):
            Journal.open(output, mode="resume", settings={"channel": 3})
        run(output, recordings, "resume")


class TestFullDisk:
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("taken", [0, 5])
    def test_a_row_is_written_whole_or_not_at_all(
        self,
        output: Path,
        recordings: list[Recording],
        whole: str,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
        taken: int,
    ):
        write = os.write

        def full(file: int, data: bytes) -> int:
            if len(data) == taken or not taken or data[:1] != b"{":
                raise OSError(code, os.strerror(code))
            return write(file, data[:taken])

        with Journal.open(output, mode="new", settings=SETTINGS) as journal:
            rows = steps(journal, recordings)
            next(rows)
            before = output.read_bytes()
            with monkeypatch.context() as context:
                context.setattr(os, "write", full)
                with pytest.raises(OutputError, match=r"disk is full .* --resume"):
                    next(rows)
            assert output.read_bytes() == before
        run(output, recordings, "resume")
        assert without_run_id(output) == whole

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_real_full_device(self):
        file = LineFile(Path("/dev/full"))
        with pytest.raises(OutputError, match="/dev/full: the disk is full"):
            file.append("row")
        file.close()
        file.close()

    @pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
    def test_a_real_limit_stops_the_run_and_resume_goes_on(
        self, output: Path, recordings: list[Recording], whole: str
    ):
        script = textwrap.dedent(
            """
            import resource, sys
            from pathlib import Path
            from test_journal import Recording, run
            resource.setrlimit(resource.RLIMIT_FSIZE, (1300, 1300))
            files = [Recording(f"site/{item.name}", item) for item in sorted(Path(sys.argv[2]).iterdir())]
            run(Path(sys.argv[1]), files)
            """
        )
        search = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        command = [sys.executable, "-c", script, str(output), str(recordings[0].path.parent)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True
        )
        assert "OutputError" in done.stderr
        assert "too large" in done.stderr
        assert 0 < output.stat().st_size <= 1300
        assert output.read_bytes().endswith(b"\n")
        run(output, recordings, "resume")
        assert without_run_id(output) == whole


class TestWriteAtomically:
    def test_the_old_content_stays_when_it_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = tmp_path / "file"
        write_atomically(path, "old ü\n")

        def full(file: int) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="disk is full"):
            write_atomically(path, "new\n")
        assert path.read_bytes() == "old ü\n".encode()
        assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))),
    torn=st.text("ab ü"),
)
def test_only_the_torn_line_is_removed(lines: list[str], torn: str, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("torn") / "file"
    file = LineFile(path)
    for line in lines:
        file.append(line)
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    file.remove_torn_line()
    assert path.read_bytes() == whole
    file.append("next")
    assert path.read_bytes() == whole + b"next\n"
    file.close()


def test_a_torn_line_longer_than_a_block_is_removed(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"first\n" + b"x" * 200_000)
    file = LineFile(path)
    file.remove_torn_line()
    file.close()
    assert path.read_bytes() == b"first\n"


@pytest.mark.parametrize("line", ["", "[]", '{"path":"a"}', '{"path":"a","status":"x"}', '{"status":"ok"}'])
def test_a_line_that_is_not_of_a_journal_is_refused(line: str):
    with pytest.raises(ValueError):  # noqa: PT011  (json has its own words)
        RecordingState.from_json(line)
