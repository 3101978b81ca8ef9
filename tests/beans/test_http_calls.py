from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from prediction_server import PATIENT_SECONDS, nobody, serving

from naturelm_audio.beans.http_calls import Caller, ServerError, check_address
from naturelm_audio.errors import OptionsError


@pytest.fixture
def server():
    with serving(lambda requests: []) as running:
        yield running


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def caller(pauses):
    return Caller(timeout_seconds=PATIENT_SECONDS, tries=4, sleep=pauses.append)


BODY = {"schema_version": "predictions_v1", "requests": []}
GOOD = {"schema_version": "predictions_v1", "responses": []}


def test_an_answer(server, caller, pauses):
    assert caller.call(server.address, BODY) == GOOD
    assert caller.call(server.address.replace("/predict", "/info"))["name"] == "test server"
    assert pauses == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again_with_growing_pauses(server, caller, pauses, status):
    server.script = [lambda body: (status, {"detail": "busy"})] * 3
    assert caller.call(server.address, BODY) == GOOD
    assert len(server.calls) == 4
    assert [0.5 * 2**n <= pause <= 0.6 * 2**n for n, pause in enumerate(pauses)] == [True] * 3


def test_a_pause_that_the_server_asks_for(server, caller, pauses):
    server.script = [
        lambda body: (503, {}, {"Retry-After": "3"}),
        lambda body: (503, {}, {"Retry-After": "900"}),
        lambda body: (503, {}, {"Retry-After": "soon"}),
    ]
    assert caller.call(server.address, BODY) == GOOD
    assert pauses[:2] == [3.0, 30.0]
    assert pauses[2] >= 2.0


def test_tries_come_to_an_end(server, caller, pauses):
    server.script = [lambda body: (503, {"detail": "loading\nweights"})] * 9
    with pytest.raises(ServerError, match=r"no answer after 4 tries: status 503 \(loading weights\)$"):
        caller.call(server.address, BODY)
    assert (len(server.calls), len(pauses)) == (4, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 501])
def test_what_will_fail_again_is_not_tried_again(server, caller, status):
    server.script = [lambda body: (status, {"detail": "no"})]
    with pytest.raises(ServerError, match=rf"refused with status {status} \(no\)$"):
        caller.call(server.address, BODY)
    assert len(server.calls) == 1


@pytest.mark.parametrize("content", [b"<html>", b"", b"\xff\xfe"])
def test_errors_and_answers_that_are_no_json(server, caller, content):
    server.script = [lambda body: (400, content)]
    with pytest.raises(ServerError, match=r"refused with status 400$"):
        caller.call(server.address, BODY)
    server.script = [lambda body: (200, content)]
    with pytest.raises(ServerError, match="which is not JSON"):
        caller.call(server.address, BODY)


def test_redirects_are_not_followed(server, caller):
    server.script = [lambda body: (307, {}, {"Location": server.address})]
    with pytest.raises(ServerError, match="refused with status 307: redirects are not followed"):
        caller.call(server.address, BODY)
    assert len(server.calls) == 1


def test_an_answer_that_comes_too_late_is_given_up(server, caller):
    given_up = threading.Event()

    def late(body):
        given_up.wait(PATIENT_SECONDS)
        return 200, {"late": True}

    server.script = [late, late]
    hasty = Caller(timeout_seconds=0.2, tries=2, sleep=lambda seconds: None)
    with pytest.raises(ServerError, match=r"no answer after 2 tries: .*(no answer within 0.2 s|timed out)"):
        hasty.call(server.address, BODY)
    until = time.monotonic() + PATIENT_SECONDS
    while len(server.calls) < 2 and time.monotonic() < until:  # a loaded machine takes them up late
        time.sleep(0.01)
    given_up.set()
    assert caller.call(server.address, BODY) == GOOD  # not the one that was late


def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_us():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/predict"

        def drip():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # until the other side has gone
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                for _ in range(round(PATIENT_SECONDS / 0.05)):
                    connection.sendall(b" ")
                    time.sleep(0.05)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        # Who were held would see the connection close at the end instead.
        with pytest.raises(ServerError, match=r"no answer within 0\.3 s"):
            Caller(timeout_seconds=0.3, tries=1).call(address, BODY)
        thread.join()


def test_nobody_there(caller, pauses):
    with nobody() as address, pytest.raises(ServerError, match=r"no answer after 4 tries: can't be reached"):
        caller.call(address, BODY)
    assert len(pauses) == 3


@pytest.mark.parametrize(
    "address",
    ["ftp://host/predict", "file:///etc/passwd", "host:8000/predict", "http://", "/predict", "http://[x/"],
)
def test_addresses_that_are_not_called(address):
    with pytest.raises(OptionsError, match="must be an http or https address"):
        check_address(address)


def test_addresses_that_are():
    for address in ("http://localhost:8000/predict", "https://example.org/x/predict"):
        assert check_address(address) == address
