"""Sessions, uploads, addresses and the password: each user's own, all of it bounded, all of it deleted."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio", reason="needs gradio of [web]")

from fastapi import FastAPI
from starlette.testclient import TestClient

from naturelm_audio.batching import QueueClosedError
from naturelm_audio.errors import AudioError, CheckpointError
from naturelm_audio.web import sessions as sessions_module
from naturelm_audio.web.access import Access
from naturelm_audio.web.examples import Examples
from naturelm_audio.web.models import Shelf, licence_of, models_in
from naturelm_audio.web.routes import add_error_handlers, router
from naturelm_audio.web.sessions import SessionGoneError, Sessions
from naturelm_audio.web.uploads import Limits, safe_name


@pytest.fixture
def sessions():
    made = Sessions(Limits(upload_bytes=200_000, files=3, clip_seconds=5.0, recording_seconds=8.0))
    yield made
    made.close()


@pytest.fixture
def client(sessions):
    app = FastAPI()
    app.include_router(router(sessions, Examples()))
    add_error_handlers(app)
    return TestClient(app)


def sound(seconds=1.0, rate_hz=8_000):
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(round(seconds * rate_hz)) / 3), rate_hz, format="WAV")
    return file.getvalue()


def give(client, session, tab="ask", name="a.wav", content=None):
    address = f"/naturelm/{session.id}/uploads/{tab}"
    return client.post(address, params={"name": name}, content=sound() if content is None else content)


def test_an_upload_can_be_seen_and_heard_until_it_is_removed(client, sessions):
    session = sessions.open()
    clip = give(client, session).json()
    assert (clip["name"], clip["seconds"], clip["rate_hz"], clip["problem"]) == ("a.wav", 1.0, 8000, None)
    place = f"/naturelm/{session.id}"
    picture = client.get(f"{place}/pictures/{clip['id']}?start=0&end=1")
    assert picture.content[:4] == b"\x89PNG"
    assert client.get(f"{place}/tiles/{clip['id']}/2/0").content[:4] == b"\x89PNG"
    samples, rate_hz = soundfile.read(
        io.BytesIO(client.get(f"{place}/sounds/{clip['id']}?start=0.25&end=0.75").content)
    )
    assert (len(samples), rate_hz) == (4000, 8000)
    assert client.delete(f"{place}/uploads/ask/{clip['id']}").status_code == 200
    gone = client.get(f"{place}/tiles/{clip['id']}/2/0")
    assert gone.status_code == 410
    assert gone.json() == {"problem": "this recording was removed"}
    assert not list(session.folder.iterdir())


def test_W8_nobody_reads_what_is_anothers(client, sessions):
    mine, yours = sessions.open(), sessions.open()
    clip = give(client, mine).json()
    assert client.get(f"/naturelm/{yours.id}/pictures/{clip['id']}?start=0&end=1").status_code == 410
    assert client.get(f"/naturelm/guess/pictures/{clip['id']}?start=0&end=1").status_code == 410
    assert client.get(f"/naturelm/{yours.id}/jobs/any").status_code == 410
    assert len(mine.id) >= 20


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"field notes", "a.wav: not a readable audio file"),
        (b"", "a.wav: the file is empty (0 bytes)"),
        (bytes(250_000), "a.wav is larger than the 0 MB that this app takes: split it"),
    ],
    ids=["text", "empty", "large"],
)
def test_what_cant_be_used_is_refused_with_a_sentence_and_not_kept(client, sessions, content, problem):
    session = sessions.open()
    assert give(client, session, content=content).json()["problem"] == problem
    assert not list(session.folder.iterdir())


def test_a_body_that_hides_its_size_is_cut_off_at_the_limit(client, sessions):
    session = sessions.open()
    address = f"/naturelm/{session.id}/uploads/ask?name=a.wav"
    reply = client.post(address, content=(bytes(50_000) for _ in range(10)))
    assert reply.status_code == 413
    assert not list(session.folder.iterdir())


def test_a_batch_keeps_bad_files_for_its_table(client, sessions):
    session = sessions.open()
    reply = give(client, session, "batch", content=b"text").json()
    assert reply["problem"] == "a.wav: not a readable audio file"
    assert len(session.uploads["batch"]) == 1


def test_too_many_and_too_long_are_sentences(client, sessions):
    session = sessions.open()
    for number in range(3):
        assert give(client, session, name=f"{number}.wav").json()["problem"] is None
    assert "more than 3 recordings" in give(client, session, name="4.wav").json()["problem"]
    assert "open it under Long recording" in give(client, session, content=sound(6.0)).json()["problem"]
    assert "hours" in give(client, session, "long", content=sound(9.0)).json()["problem"]


@pytest.mark.parametrize("replace", [True, False], ids=["another", "removed"])
def test_a_job_stops_when_its_long_recording_goes(client, sessions, replace):
    class Started:
        stopped = False

        def start(self):
            """Nothing to do."""

        def cancel(self):
            self.stopped = True

        wait = delete = cancel

    session = sessions.open()
    give(client, session, "long", "one.wav")
    job = session.start("long", lambda folder: Started())
    give(client, session, "batch", "two.wav")
    session.remove("batch")
    assert not job.stopped
    if replace:
        give(client, session, "long", "two.wav")
    else:
        session.remove("long")
    assert job.stopped


def test_equal_names_are_told_apart_and_a_long_recording_takes_the_place_of_the_last(client, sessions):
    session = sessions.open()
    assert [give(client, session).json()["name"] for _ in range(3)] == ["a.wav", "a (2).wav", "a (3).wav"]
    give(client, session, "long", "one.wav")
    give(client, session, "long", "two.wav")
    assert [upload.name for upload in session.uploads["long"].values()] == ["two.wav"]
    assert len(list(session.folder.iterdir())) == 4


def test_equal_names_that_come_at_once_are_told_apart_too(client, sessions):
    session = sessions.open()
    with ThreadPoolExecutor() as several:
        names = list(several.map(lambda _: give(client, session).json()["name"], range(3)))
    assert sorted(names) == ["a (2).wav", "a (3).wav", "a.wav"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\sounds\\wren.wav", "wren.wav"),
        (".hidden.wav", "hidden.wav"),
        ("", "recording"),
        ("a\nb\x00.wav", "a_b_.wav"),
        ("Zilpzalp im Mörz.wav", "Zilpzalp im Mörz.wav"),
        ("x" * 400 + ".flac", "x" * 115 + ".flac"),
    ],
)
def test_names_of_files_lead_nowhere_else(given, expected):
    assert safe_name(given) == expected


def test_a_closed_session_leaves_nothing(client, sessions):
    session = sessions.open()
    give(client, session)
    sessions.end(session.id)
    assert not session.folder.exists()
    with pytest.raises(SessionGoneError):
        sessions.get(session.id)
    assert give(client, session).status_code == 410
    sessions.end(session.id)


def test_pages_without_a_sign_of_life_are_closed(monkeypatch):
    monkeypatch.setattr(sessions_module, "SWEEP_SECONDS", 0.02)
    made = Sessions(Limits(idle_seconds=0.0))
    session = made.open()
    for _ in range(200):
        if not session.folder.exists():
            break
        asyncio.run(asyncio.sleep(0.02))
    assert not session.folder.exists()
    made.close()
    assert not made.folder.exists()


@pytest.mark.parametrize("suffix", ["m4a", "mp3"])
def test_compressed_uploads_can_be_looked_at_anywhere(client, sessions, suffix, wav, tmp_path):
    if suffix == "m4a":
        av = pytest.importorskip("av", reason="needs [media]")
        path = tmp_path / "a.m4a"
        with av.open(str(path), "w") as container:
            track = container.add_stream("aac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 32_000), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = 16_000
            for packet in [*track.encode(frame), *track.encode(None)]:
                container.mux(packet)
    else:
        path = wav("a.mp3", seconds=2.0)
    session = sessions.open()
    clip = give(client, session, name=path.name, content=path.read_bytes()).json()
    assert clip["problem"] is None
    assert clip["seconds"] == pytest.approx(2.0, abs=0.2)
    place = f"/naturelm/{session.id}"
    assert client.get(f"{place}/pictures/{clip['id']}?start=1&end=2").status_code == 200
    assert client.get(f"{place}/sounds/{clip['id']}?start=1&end=1.5").status_code == 200


def test_W6_every_example_can_be_used(client, sessions):
    examples = Examples()
    limits = Limits()
    sessions.limits = limits
    for tab in ("ask", "batch", "long"):
        session = sessions.open()
        for name in examples.names(tab):
            clip = client.post(f"/naturelm/{session.id}/examples/{tab}/{name}").json()
            assert clip["problem"] is None
            assert clip["seconds"] > 5
    assert client.post(f"/naturelm/{session.id}/examples/ask/none.wav").status_code == 422


def test_examples_of_a_folder(wav):
    path = wav("wren.wav")
    examples = Examples(path.parent)
    assert examples.names("ask") == examples.names("long") == ["wren.wav"]
    examples.write("wren.wav", path.with_name("copy.wav"))
    assert path.with_name("copy.wav").read_bytes() == path.read_bytes()
    with pytest.raises(AudioError):
        examples.write("../secret.wav", path.with_name("copy.wav"))
    with pytest.raises(AudioError):
        Examples(path.parent / "missing")


class TestAccess:
    @staticmethod
    def client(password=None, *, local=False, host="127.0.0.1"):
        app = FastAPI()
        app.get("/secret")(lambda: {"found": True})
        return TestClient(
            Access(app, password, local=local), base_url=f"http://{host}", follow_redirects=False
        )

    def test_without_a_password_everyone_is_let_in(self):
        assert self.client().get("/secret").json() == {"found": True}

    def test_the_password_gives_a_cookie_and_nothing_else_does(self, monkeypatch):
        monkeypatch.setattr("naturelm_audio.web.access.SECONDS_AFTER_WRONG", 0.0)
        client = self.client("wren & robin")
        assert client.get("/secret").status_code == 401
        assert client.post("/secret").status_code == 401
        assert client.get("/secret", headers={"cookie": "naturelm_access=guess"}).status_code == 401
        assert client.get("/secret", headers={"cookie": "naturelm_access="}).status_code == 401
        assert "not the password" in client.post("/naturelm-login", data={"password": "wren"}).text
        entered = client.post("/naturelm-login", data={"password": "wren & robin"})
        assert entered.status_code == 303
        assert "HttpOnly" in entered.headers["set-cookie"]
        assert client.get("/secret").json() == {"found": True}

    def test_an_app_of_this_machine_answers_to_no_other_name(self):
        assert self.client(local=True, host="rebound.example").get("/secret").status_code == 403
        assert self.client(local=True, host="localhost:7860").get("/secret").status_code == 200
        assert self.client(local=True, host="[::1]:7860").get("/secret").status_code == 200


class TestShelf:
    def test_a_model_is_loaded_once_and_on_demand(self, toy_model):
        asked = []
        shelf = Shelf(["one", "two", "one"], lambda name: asked.append(name) or toy_model)
        assert shelf.names == ["one", "two"]
        assert shelf.get() is shelf.get("one")
        assert asked == ["one"]
        shelf.get("two")
        assert asked == ["one", "two"]
        shelf.close()

    def test_one_that_fails_leaves_the_others(self, toy_model):
        def load(name):
            if name == "bad":
                raise OSError("cannot allocate memory")
            return toy_model

        shelf = Shelf(["good", "bad"], load)
        good = shelf.get()
        with pytest.raises(CheckpointError, match=r"bad can't be loaded: cannot allocate"):
            shelf.get("bad")
        with pytest.raises(CheckpointError, match="not one of the models"):
            shelf.get("/etc/passwd")
        assert shelf.get() is good
        shelf.close()

    def test_a_large_model_makes_room_for_the_next_unless_somebody_uses_it(self, toy_model, monkeypatch):
        monkeypatch.setattr("naturelm_audio.web.models.LARGE_MODEL_PARAMETERS", 1)
        shelf = Shelf(["one", "two", "three"], lambda name: toy_model)
        one = shelf.get("one")
        two = shelf.get("two")  # the first was used just now
        assert shelf.get("one") is one
        monkeypatch.setattr("naturelm_audio.web.models.IDLE_SECONDS", -1.0)
        shelf.get("three")
        assert shelf.get("one") is not one
        with pytest.raises(QueueClosedError):
            two.queue.run(lambda: None)
        shelf.close()

    def test_the_panel_knows_name_size_device_and_licence(self, toy_model, toy_model_dir):
        shelf = Shelf([str(toy_model_dir)], lambda name: toy_model)
        facts = shelf.get().facts()
        assert facts["Model"] == toy_model.provenance.model_name
        assert facts["Runs on"] == "processor (CPU), float32"
        assert facts["Licence"] == "not stated with the weights"
        assert not shelf.get().is_demonstration
        shelf.close()

    def test_a_licence_is_read_from_the_card(self, tmp_path):
        (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n# Model\n")
        assert licence_of(tmp_path, "mine") == "CC BY-NC-SA-4.0"
        (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
        assert licence_of(tmp_path, "mine") == "not stated with the weights"

    def test_a_folder_of_models_stands_for_its_models(self, tmp_path):
        for name in ("b", "a"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").touch()
        assert models_in(str(tmp_path)) == [str(tmp_path / "a"), str(tmp_path / "b")]
        assert models_in(str(tmp_path / "a")) == [str(tmp_path / "a")]
        assert models_in("naturelm-tiny") == ["naturelm-tiny"]
