from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile
from benchmark_rows import samples
from prediction_server import INFO, PATIENT_SECONDS, serving, success

from naturelm_audio.beans.dataset import Row
from naturelm_audio.beans.http_calls import Caller, ServerError
from naturelm_audio.beans.models import Item
from naturelm_audio.beans.remote import RemoteModel
from naturelm_audio.beans.sounds import Sound
from naturelm_audio.components import Component
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.options import GenerateOptions

SHORT = Component(name="short", task="classification", labels=("Hen",), max_seconds=3)


def item(number=0, component=SHORT, rate_hz=16_000.0, sound=True):
    heard = Sound(samples(number, rate_hz=int(rate_hz)), rate_hz) if sound else None
    return Item(Row(component.name, str(number), "", "Hen", sound=heard), component, "Which bird?")


def echo(requests):
    return [success(request, request["sample_id"]) for request in requests]


@pytest.fixture
def server():
    with serving(echo) as running:
        yield running


def connected(server, **settings):
    caller = Caller(timeout_seconds=PATIENT_SECONDS, tries=3, sleep=lambda seconds: None)
    generate = settings.pop("generate", GenerateOptions(max_new_tokens=50))
    return RemoteModel(server.address, generate, folder=None, caller=caller, **settings)


def asked(model, *items):
    return model.answer([(one, model.prepare(one)) for one in items])


def test_the_request_of_an_item_follows_the_schema(server):
    request = connected(server).prepare(item())
    (audio,) = request.pop("audio_inputs")
    assert request == {
        "sample_id": "short/0",
        "messages": [{"role": "user", "content": "<Audio><AudioHere></Audio> Which bird?"}],
        "generation_config": {
            "max_tokens": 50,
            "temperature": 0.0,
            "max_length_seconds": 3,
            "num_beams": 2,
            "merging_alpha": 1.0,
        },
    }
    assert (audio["payload_type"], audio["sample_rate"]) == ("base64_wav", 16_000)
    heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(audio["data"])), dtype="float32")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(heard, samples(0).astype(np.float32))


def test_sound_goes_out_at_its_own_rate_and_odd_lengths_are_cut_here(server):
    half = Component(name="half", task="captioning", max_seconds=0.5)
    request = connected(server).prepare(item(component=half, rate_hz=44_100.0))
    heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(request["audio_inputs"][0]["data"])))
    assert (len(heard), rate_hz) == (22_050, 44_100)
    assert request["generation_config"]["max_length_seconds"] == 1


def test_items_go_in_calls_of_the_servers_size_and_come_back_in_order(server):
    model = connected(server, calls_at_once=2)
    assert model.rows_at_once == 4
    outcomes = asked(model, *(item(number) for number in range(5)))
    assert [outcome.prediction for outcome in outcomes] == [f"{n}/short/{n}" for n in range(5)]
    assert sorted(len(call) for call in server.calls) == [1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "batch_size", "rows"),
    [
        ({}, 1, 1),
        ({"supports_batching": False}, None, 1),
        ({"max_batch_size": 4096}, None, 512),
        ({"max_batch_size": None}, None, 8),
        ({"max_batch_size": True}, None, 8),
    ],
)
def test_the_size_of_calls(server, changes, batch_size, rows):
    server.info = INFO | changes
    assert connected(server, batch_size=batch_size).rows_at_once == rows


def test_who_answers_is_known(server):
    assert connected(server).about() == {
        "name": "test server",
        "model": "test-model",
        "model_revision": "1",
        "precision": None,
    }


def test_a_server_that_is_still_loading_is_waited_for(server):
    server.health = [(503, {"status": "loading"}, {"Retry-After": "0"})] * 2
    connected(server)
    server.health = [(503, {"status": "failed"})] * 3
    with pytest.raises(ServerError, match="/health: no answer after 3 tries"):
        connected(server)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (INFO | {"schema_versions": ["predictions_v2"]}, "schema_versions is .*, without 'predictions_v1'"),
        (INFO | {"audio_payload_types": ["file_url"]}, "audio_payload_types is .*, without 'base64_wav'"),
        ([], "schema_versions is None"),
    ],
)
def test_servers_that_speak_something_else(server, info, message):
    server.info = info
    with pytest.raises(ServerError, match=message):
        connected(server)


def test_an_items_own_error_is_its_outcome(server):
    def some(requests):
        first, second = requests
        failed = {"sample_id": first["sample_id"], "predictions": [], "error": "audio_empty: no\nsound"}
        good = success(second, "Hen") | {"usage": {"confidence": 0.5, "warnings": ["short"], "x": 1}}
        return [good, failed]

    server.answer = some
    first, second = asked(connected(server), item(0), item(1))
    assert (first.prediction, first.error) == (None, "server_error: audio_empty: no sound")
    assert (second.prediction, second.extras) == ("Hen", {"confidence": 0.5, "warnings": ["short"]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda found: found[:1], "does not answer 1 of 2 items, such as '1/short/1'"),
        (
            lambda found: [*found, {"sample_id": "9", "predictions": ["x"]}],
            "sample_id '9', which was not asked",
        ),
        (lambda found: [found[0], found[0]], "answers sample_id '0/short/0' twice"),
        (lambda found: [found[0] | {"sample_id": 7}, found[1]], "sample_id 7, which was not asked"),
        (lambda found: ["x", *found], "sample_id None, which was not asked"),
        (lambda found: [found[0] | {"predictions": []}, found[1]], "with neither predictions nor an error"),
        (lambda found: [found[0] | {"predictions": [3]}, found[1]], "with neither predictions nor an error"),
    ],
)
def test_answers_to_something_else_than_was_asked_are_noticed(server, spoil, message):
    server.answer = lambda requests: spoil(echo(requests))
    with pytest.raises(ServerError, match=message):
        asked(connected(server), item(0), item(1))


@pytest.mark.parametrize("content", [[], {"responses": []}, {"schema_version": "predictions_v1"}])
def test_answers_of_another_form(server, content):
    server.script = [lambda body: (200, content)]
    with pytest.raises(ServerError, match="answers something else than predictions_v1"):
        asked(connected(server), item())


def test_nothing_is_asked_of_other_addresses_than_http(server):
    with pytest.raises(OptionsError, match="http or https"):
        RemoteModel("file:///x", GenerateOptions(), folder=None)


def test_a_row_without_sound(server):
    with pytest.raises(AudioError, match="no audio"):
        connected(server).prepare(item(sound=False))
