"""The table of names holds in both directions, for every tensor and any number of layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from naturelm_audio.checkpoint import tensors
from naturelm_audio.checkpoint.layouts import to_official, to_ours
from naturelm_audio.checkpoint.tensors import Stored, check_complete, equal, fingerprint, open_weights, shown
from naturelm_audio.errors import CheckpointError


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_every_tensor_of_ours_has_an_official_name(lora_rank: int):
    state = toys.model(lora_rank=lora_rank).state_dict()
    official = {to_official(name, lora=lora_rank > 0): name for name in state}
    assert len(official) == len(state)
    assert {to_ours(theirs): ours for theirs, ours in official.items()} == {name: name for name in state}


def test_every_official_tensor_has_a_name_of_ours(micro: Path, micro_model: torch.nn.Module):
    lines = (micro / "keys.txt").read_text().splitlines()
    official = [line.split()[0] for line in lines if line.strip()]
    assert len(official) == 150
    ours = {to_ours(name) for name in official if not name.endswith("position_ids")}
    assert ours == set(micro_model.state_dict())


@given(layer=st.integers(0, 99))
def test_the_bias_table_has_a_name_per_layer(layer: int):
    name = f"beats.encoder.layers.{layer}.self_attn.relative_attention_bias.weight"
    assert to_ours(name) == "audio_tower.encoder.relative_attention_bias.weight"


@given(name=st.text(max_size=60))
def test_other_names_have_no_meaning(name: str):
    prefixes = (
        "beats.",
        "ln_audio.",
        "audio_query_tokens",
        "audio_Qformer.bert.",
        "audio_llama_proj.",
        "llama_",
    )
    assert (to_ours(name) is None) or name.startswith(prefixes)


def test_a_name_that_is_not_ours():
    with pytest.raises(KeyError):
        to_official("other.weight")


def stored(name: str, *shape: int) -> Stored:
    return Stored(name, Path("file"), shape, lambda: torch.zeros(shape))


def test_the_report_names_all_three_kinds():
    expected = {"a": (1,), "b": (2, 3), "c": (4,)}
    check_complete(expected, {name: stored(name, *shape) for name, shape in expected.items()}, Path("m"))
    with pytest.raises(CheckpointError) as caught:
        check_complete(expected, {"b": stored("b", 3, 2), "d": stored("x", 1)}, Path("m"), str.upper)
    assert str(caught.value) == (
        "m: 2 tensors missing: A, C; 1 tensors unexpected: x; "
        "1 tensors of the wrong shape: b [3, 2] instead of [2, 3]"
    )


@given(st.lists(st.integers(), max_size=12))
def test_long_lists_are_cut(names: list[int]):
    text = shown(names)
    assert text.count(",") <= 4
    assert ("more" in text) == (len(names) > 5)


@given(st.integers(1, 40), st.integers(0, 5))
def test_tables_are_compared_in_pieces(rows: int, columns: int):
    table = torch.randn(rows, columns)
    assert equal(table, table.clone())
    assert equal(table, table.to(torch.bfloat16))
    assert equal(table.to(torch.float16), table.to(torch.float16).float())
    assert not equal(table, torch.cat([table, table]))
    if columns:
        other = table.clone()
        other[-1, -1] = other[-1, -1] * 1.1 + 0.1
        assert not equal(table, other)
        assert not equal(table, other.to(torch.bfloat16))


def test_equal_scalars_and_long_tables():
    assert equal(torch.tensor(1.0), torch.tensor(1.0, dtype=torch.bfloat16))
    long = torch.zeros(9000, 1)
    other = long.to(torch.bfloat16)
    other[8999] = 1
    assert not equal(long, other)


def test_fingerprints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(range(256)) * 4000)
    two.write_bytes(one.read_bytes())
    small = fingerprint([one])
    assert small == fingerprint([two])
    monkeypatch.setattr(tensors, "_SMALL_FILE_BYTES", 1000)
    monkeypatch.setattr(tensors, "_SAMPLE_BYTES", 16)
    large = fingerprint([one])
    assert large == fingerprint([two]) != small
    two.write_bytes(two.read_bytes() + b"x")
    assert fingerprint([two]) != large
    changed = bytearray(one.read_bytes())
    changed[-1] ^= 1
    one.write_bytes(changed)
    assert fingerprint([one]) != large


def test_reading_is_lazy(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(3), "b": torch.zeros(2, 2, dtype=torch.bfloat16)}, path)
    found = open_weights(path)
    assert {name: one.shape for name, one in found.items()} == {"a": (3,), "b": (2, 2)}
    assert found["b"].read().dtype == torch.bfloat16


@pytest.mark.parametrize("content", [b"", b"x" * 100, (10**9).to_bytes(8, "little") + b"{}"])
def test_damaged_safetensors(content: bytes, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file, or truncated"):
        open_weights(path)


def test_a_missing_safetensors_file(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such file"):
        open_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [{"model": {"a": 1}}, {"model": {}}, [1], {"epoch": 1}])
def test_pickles_without_a_state_dict(content: object, tmp_path: Path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        open_weights(tmp_path / "a.pt")


def test_a_bare_state_dict(tmp_path: Path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    assert torch.equal(open_weights(tmp_path / "a.pt")["a"].read(), torch.ones(2))
