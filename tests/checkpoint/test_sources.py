"""Local paths never touch the network; hub ids fail with what to do next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from naturelm_audio.checkpoint import load_audio_tower, load_model, sources
from naturelm_audio.checkpoint.sources import locate, looks_like_path
from naturelm_audio.errors import CheckpointError

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub.example/api/models/x/y"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes the hub give a folder, or raise; what it was asked for is kept."""
    asked: list[dict[str, Any]] = []

    def set_answer(answer: Path | Exception) -> list[dict[str, Any]]:
        def download(repo_id: str, **options: Any) -> str:
            asked.append({"repo_id": repo_id, **options})
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return asked

    return set_answer


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            errors.GatedRepoError("gated", response=response(403)),
            ["licence", f"the page of {LLAMA}", "hf auth login"],
        ),
        (
            errors.RepositoryNotFoundError("none", response=response(404)),
            ["no such model on the hub", "hf auth login"],
        ),
        (errors.LocalEntryNotFoundError("no"), ["hub can't be reached", f"hf download {LLAMA}"]),
        (errors.OfflineModeIsEnabled("off"), ["hub can't be reached"]),
        (ConnectionError("no route"), ["hub can't be reached"]),
        (
            errors.HfHubHTTPError("500 Server Error", response=response(500)),
            ["download failed: 500 Server Error"],
        ),
        (OSError(28, "No space left on device"), ["download failed", "No space left"]),
        (errors.HFValidationError("bad"), ["not a valid hub id"]),
    ],
)
def test_hub_errors_say_what_to_do(error: Exception, says: list[str], hub: Any):
    hub(error)
    with pytest.raises(CheckpointError) as caught:
        locate(LLAMA)
    message = str(caught.value)
    assert message.startswith(f"{LLAMA}: ")
    assert all(part in message for part in says), message
    assert "\n" not in message


def test_a_gated_base_model_names_the_local_folder_option(hub: Any, tmp_path: Path):
    hub(errors.GatedRepoError("gated", response=response(403)))
    with pytest.raises(CheckpointError, match=r"licence .*hf auth login.*--llama-path \(llama= in Python\)"):
        locate(
            LLAMA,
            hint=", or pass a local folder of the base language model with --llama-path (llama= in Python)",
        )


def test_offline_mode_is_named(hub: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub(errors.LocalEntryNotFoundError("no"))
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        locate(LLAMA)


def test_an_unknown_revision(hub: Any):
    hub(errors.RevisionNotFoundError("none", response=response(404)))
    with pytest.raises(CheckpointError, match="no revision 'v9'"):
        locate(LLAMA, revision="v9")


def test_a_hub_id_is_downloaded_to_the_cache(hub: Any, tmp_path: Path):
    folder = tmp_path / "models--a--b" / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    asked = hub(folder)
    found = locate("a/b", revision="main")
    assert (found.path, found.name, found.revision) == (folder, "a/b", "0123abcd")
    assert asked[0]["revision"] == "main"
    assert "original/*" in asked[0]["ignore_patterns"]
    assert "*.safetensors" in asked[0]["allow_patterns"]
    locate("a/b", weights=False)
    assert "*.safetensors" not in asked[1]["allow_patterns"]


def test_a_model_from_the_hub_knows_its_revision(hub: Any, toy_model_dir: Path, tmp_path: Path):
    folder = tmp_path / "snapshots" / "0123abcd"
    folder.parent.mkdir()
    folder.symlink_to(toy_model_dir)
    hub(folder)
    model = load_model("somebody/toy", device="cpu")
    assert (model.provenance.model_name, model.provenance.model_revision) == ("somebody/toy", "0123abcd")


@pytest.mark.parametrize(
    "name",
    [
        "./model", "../model", "/no/such", "~/model", r"C:\models\a", "C:/models", "a\\b", "a/b/c",
        "model.pth", "x.PT",
        "a/weights.safetensors", ".", "here/model",
    ],
)  # fmt: skip
def test_I11_what_looks_like_a_path_is_never_looked_up(
    name: str, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    asked = hub(tmp_path)
    assert looks_like_path(name)
    if name != ".":
        with pytest.raises(CheckpointError, match="no such file or folder"):
            locate(name)
    assert not asked


@pytest.mark.parametrize("name", [LLAMA, "EarthSpeciesProject/NatureLM-audio", "gpt2", "naturelm"])
def test_hub_ids_do_not_look_like_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert not looks_like_path(name)


def test_a_path_object_is_never_looked_up(hub: Any, tmp_path: Path):
    asked = hub(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        locate(Path("a/b"))
    assert not asked


def test_an_existing_folder_wins_over_a_hub_id(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    asked = hub(ValueError("must not be asked"))
    assert locate("a/b").path == Path("a/b")
    assert not asked


def test_beside_comes_before_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for place in ("beside", "here"):
        (tmp_path / place / "llama").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert locate("llama", beside=tmp_path / "beside").path == tmp_path / "beside" / "llama"
    assert locate("llama").path == Path("llama")


@pytest.mark.parametrize("name", [None, "naturelm-tiny"])
def test_the_bundled_model_is_a_folder_of_the_package(
    name: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sources, "_BUNDLED_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="bundled model naturelm-tiny is missing"):
        locate(name)
    (tmp_path / "config.json").write_text("{}")
    assert locate(name).path == tmp_path
    assert locate(name).name == "naturelm-tiny"


def test_P5_loading_a_local_folder_needs_no_network(toy_model_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """The fixture for all tests here refuses connections; the hub's own client must not be called either."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the hub was asked")

    for name in ("snapshot_download", "hf_hub_download", "model_info"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert load_model(toy_model_dir, device="cpu")
    assert load_model(str(toy_model_dir / "model.safetensors"), device="cpu")
    assert load_audio_tower(toy_model_dir, device="cpu")


def test_a_home_folder_is_expanded(toy_model_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(toy_model_dir.parent))
    if os.path.expanduser("~") != str(toy_model_dir.parent):
        pytest.skip("this system finds the home folder otherwise")
    assert locate("~/toy").path == toy_model_dir
