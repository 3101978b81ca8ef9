"""Names of output files: mirrored, distinct on every file system, never outside the folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.formats.names import output_stems


def test_sub_folders_are_mirrored_and_the_last_extension_goes():
    names = ["site1/S4A01.wav", "site1/deep/b.tar.WAV", "c"]
    assert list(output_stems(names).values()) == ["site1/S4A01", "site1/deep/b.tar", "c"]


def test_recordings_that_share_a_stem_keep_their_extension():
    stems = output_stems(["a.wav", "a.flac", "b/a.wav"])
    assert stems == {"a.wav": "a.wav", "a.flac": "a.flac", "b/a.wav": "b/a"}


def test_names_that_differ_in_case_only_get_a_hash():
    stems = output_stems(["a.wav", "A.WAV"])
    assert len({stem.casefold() for stem in stems.values()}) == 2


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("../x.wav", "__/x"),
        ("/abs/x.wav", "abs/x"),
        ("a/../../x.wav", "a/__/__/x"),
        ("./a//b.wav", "a/b"),
        ("a\tb\nc.wav", "a_b_c"),
        ("a\\xff.wav", "a_xff"),
        ("a\"b'.wav", "a\"b'" if os.name != "nt" else "a_b'"),
        (".hidden", ".hidden"),
        ("", "_"),
    ],
)
def test_unsafe_names_stay_in_the_folder(name: str, stem: str):
    assert output_stems([name]) == {name: stem}


def test_a_long_name_is_cut_and_stays_distinct():
    stems = output_stems(["x" * 300 + "1.wav", "x" * 300 + "2.wav"])
    assert len(set(stems.values())) == 2
    assert all(len(stem.encode()) < 230 for stem in stems.values())


@given(st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=8))
def test_any_names_give_distinct_safe_files(names: list[str]):
    stems = list(output_stems(names).values())
    assert len({stem.casefold() for stem in stems}) == len(names)
    for stem in stems:
        path = PurePosixPath(stem)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert "\n" not in stem
        (Path("/tmp") / f"{stem}.csv").as_posix().encode("utf-8")
