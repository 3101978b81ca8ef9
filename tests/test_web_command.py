"""`naturelm inference-app` without a browser: options, passwords, addresses, and what it says."""

from __future__ import annotations

import builtins
import os
import socket
import sys

import pytest
from click.testing import CliRunner

from naturelm_audio import cli, web_command
from naturelm_audio.errors import CheckpointError, MissingExtraError, OptionsError
from naturelm_audio.options import RunConfig

GIVEN = {
    "cfg_path": None, "host": "127.0.0.1", "port": 0, "model": (), "llama_path": None, "device": "cpu",
    "dtype": None, "merging_alpha": None, "assets_dir": None, "password_file": None, "password": None,
    "max_upload_mb": 2000,
}  # fmt: skip


def test_help_has_the_official_options_and_no_way_to_share_with_the_world():
    shown = CliRunner().invoke(web_command.inference_app, ["--help"]).output
    for option in (
        "cfg-path",
        "port",
        "assets-dir",
        "merging-alpha",
        "device",
        "host",
        "model",
        "password-file",
    ):
        assert f"--{option}" in shown
    assert "--share" not in shown
    assert "[default: 127.0.0.1]" in shown


def test_a_wrong_model_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["inference-app", "--port", "0", "--model", "./no-such-model"])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("\n") == 1
    assert "no-such-model" in said


def test_wrong_use_is_found_before_a_model_is_loaded(capsys, tmp_path):
    for words in (["--port", "99999"], ["--dtype", "int3"], ["--password-file", str(tmp_path / "none")]):
        with pytest.raises(SystemExit) as left:
            cli.main(["inference-app", *words])
        assert left.value.code == 2
    assert "can't be read" in capsys.readouterr().err


def test_an_address_that_is_taken_is_a_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OptionsError, match=f"--port {port}.*choose another"):
            web_command.listen_at("127.0.0.1", port)


def test_port_0_takes_a_free_one_on_loopback():
    with web_command.listen_at("127.0.0.1", 0) as listening:
        host, port = listening.getsockname()
    assert host == "127.0.0.1"
    assert port > 1024


class TestPassword:
    def test_none_by_default(self, monkeypatch):
        monkeypatch.delenv(web_command.PASSWORD_VARIABLE, raising=False)
        assert web_command.password_of(GIVEN) is None

    def test_of_a_file_of_the_environment_or_given(self, monkeypatch, tmp_path):
        monkeypatch.setenv(web_command.PASSWORD_VARIABLE, "of the environment")
        assert web_command.password_of(GIVEN) == "of the environment"
        assert web_command.password_of(GIVEN | {"password": "given"}) == "given"
        (tmp_path / "password").write_text("of a file\n")
        assert web_command.password_of(GIVEN | {"password_file": tmp_path / "password"}) == "of a file"

    def test_an_empty_one_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setenv(web_command.PASSWORD_VARIABLE, "")
        with pytest.raises(OptionsError, match="empty"):
            web_command.password_of(GIVEN)


class TestMakeApp:
    @pytest.fixture
    def made(self, monkeypatch):
        """What the app would be made of, without making it."""
        app = pytest.importorskip("naturelm_audio.web.app", reason="needs gradio of [web]")
        found = {}
        monkeypatch.setattr(app, "WebApp", lambda options, load: found.update(options=options, load=load))
        return found

    def test_W8_the_device_and_the_configuration_are_honoured(self, made, monkeypatch):
        asked = []
        monkeypatch.setattr("naturelm_audio.checkpoint.load_model", lambda *a, **k: asked.append((a, k)))
        config = RunConfig(model="mine", llama_path="llama", device="cuda", dtype="bfloat16")
        web_command.make_app(config, GIVEN | {"merging_alpha": 0.3, "model": ("mine", "other")}, None)
        assert list(made["options"].models) == ["mine", "other", "naturelm-tiny"]
        assert made["options"].generate.merging_alpha == 0.3
        assert made["options"].local
        made["load"]("mine")
        made["load"]("other")
        assert [(a[0], k["device"], k["dtype"], k["llama"]) for a, k in asked] == [
            ("mine", "cpu", "bfloat16", "llama"),
            ("other", "cpu", "bfloat16", None),
        ]

    def test_a_network_or_a_password_is_not_for_this_machine_alone(self, made):
        web_command.make_app(RunConfig(), GIVEN | {"host": "0.0.0.0"}, None)
        assert not made["options"].local
        web_command.make_app(RunConfig(), GIVEN, "secret")
        assert not made["options"].local

    def test_without_the_extra_it_says_what_to_install(self, monkeypatch):
        real = builtins.__import__

        def without(name, *rest, **more):
            if name == "gradio":
                raise ImportError("No module named 'gradio'", name="gradio")
            return real(name, *rest, **more)

        for name in [one for one in sys.modules if one.startswith(("naturelm_audio.web", "gradio"))]:
            if name != "naturelm_audio.web_command":
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(MissingExtraError, match=r"naturelm-audio\[web\]"):
            web_command.make_app(RunConfig(), GIVEN, None)


def test_the_mp3_decoder_is_not_heard_and_everything_else_is(capfd):
    with web_command.without_chatter():
        os.write(
            2, b"[src/libmpg123/layer3.c:1774] error: part2_3_length (1088) too large\nthe disk is full\n"
        )
    os.write(2, b"the end\n")
    assert capfd.readouterr().err == "the disk is full\nthe end\n"


def test_a_model_that_cannot_be_loaded_lets_the_address_go(monkeypatch):
    def fail(*_):
        raise CheckpointError("the weights are torn")

    monkeypatch.setattr(web_command, "make_app", fail)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(CheckpointError):
        web_command.run_app(GIVEN | {"port": port}, lambda line: None)
    web_command.listen_at("127.0.0.1", port).close()
