"""Finding recordings: what is taken, what is left out, in which order, under which name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from naturelm_audio.errors import AudioError
from naturelm_audio.recordings import AUDIO_SUFFIXES, MEDIA_SUFFIXES, find_recordings, shown_path


@pytest.fixture
def tree(tmp_path):
    """A function that makes empty files: nothing here looks into them."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def names(*inputs) -> list[str]:
    return [recording.name for recording in find_recordings(list(inputs))]


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES | MEDIA_SUFFIXES))
def test_I6_every_suffix_in_any_case(tree, suffix):
    folder = tree(f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}", "d.txt")
    assert names(folder) == [f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}"]


def test_I6_hidden_files_and_folders_are_left_out(tree):
    folder = tree("a.wav", "._a.wav", ".b.wav", ".Trashes/c.wav", "sub/._d.wav")
    assert names(folder) == ["a.wav"]


def test_I6_appledouble_files_are_left_out_of_patterns_too(tree):
    folder = tree("a.wav", "._a.wav")
    assert names(str(folder / "*.wav"), str(folder / ".*.wav").replace(".*", "[!x]*")) == ["a.wav"]


def test_I6_order_is_by_code_point_of_the_relative_path(tree):
    folder = tree("b.wav", "B.wav", "a/z.wav", "a-z.wav", "ä.wav", "10.wav", "9.wav", "a/B/c.wav")
    assert names(folder) == ["10.wav", "9.wav", "B.wav", "a-z.wav", "a/B/c.wav", "a/z.wav", "b.wav", "ä.wav"]


def test_names_are_relative_to_the_given_folder(tree):
    folder = tree("survey/site1/a.wav")
    assert names(folder) == ["survey/site1/a.wav"]
    assert names(folder / "survey") == ["site1/a.wav"]
    assert find_recordings(folder)[0].path == folder / "survey/site1/a.wav"


def test_a_single_file_is_taken_whatever_its_name(tree):
    folder = tree("a.wav", "recording", "b.xyz", ".hidden.wav")
    assert names(folder / "recording") == ["recording"]
    assert names(folder / "b.xyz") == ["b.xyz"]
    assert names(folder / ".hidden.wav") == [".hidden.wav"]


def test_one_path_needs_no_list(tree):
    folder = tree("a.wav")
    assert [one.name for one in find_recordings(str(folder))] == ["a.wav"]
    assert [one.name for one in find_recordings(folder / "a.wav")] == ["a.wav"]


def test_the_working_folder(tree, monkeypatch):
    monkeypatch.chdir(tree("a.wav", "s/b.wav"))
    assert names(".") == ["a.wav", "s/b.wav"]
    assert names("a.wav") == ["a.wav"]
    assert names("*.wav", "s") == ["a.wav", "b.wav"]


def test_patterns(tree):
    folder = tree("x/a1.wav", "x/a2.flac", "x/n.txt", "y/a3.wav", "y/deep/a4.WAV")
    assert names(str(folder / "*" / "a*.wav")) == ["x/a1.wav", "y/a3.wav"]
    assert names(str(folder / "x" / "*")) == ["a1.wav", "a2.flac"]
    assert names(str(folder / "**" / "*")) == ["x/a1.wav", "x/a2.flac", "y/a3.wav", "y/deep/a4.WAV"]
    assert names(str(folder / "?")) == ["x/a1.wav", "x/a2.flac", "y/a3.wav", "y/deep/a4.WAV"]


def test_a_pattern_may_name_its_own_suffix(tree):
    folder = tree("a.data", "b.data", "c.txt")
    assert names(str(folder / "*.data")) == ["a.data", "b.data"]


def test_a_file_whose_name_looks_like_a_pattern(tree):
    folder = tree("take[1].wav", "take1.wav")
    assert names(folder / "take[1].wav") == ["take[1].wav"]


def test_each_path_once(tree, monkeypatch):
    folder = tree("a.wav", "s/b.wav")
    monkeypatch.chdir(folder)
    assert names("a.wav", folder / "a.wav", "./a.wav", "s/../a.wav") == ["a.wav"]
    assert names(folder, folder) == ["a.wav", "s/b.wav"]


def test_the_same_name_in_two_folders_is_told_apart(tree, monkeypatch):
    monkeypatch.chdir(tree("x/a.wav", "y/a.wav", "y/b.wav"))
    assert names("x", "y") == ["b.wav", "x/a.wav", "y/a.wav"]


def test_an_empty_folder_says_what_is_looked_for(tree, tmp_path):
    tree("notes.txt")
    with pytest.raises(AudioError, match=r"no recording found.*\.flac.*\.m4a.*\.wav") as caught:
        find_recordings(tmp_path)
    assert caught.value.code == "audio_not_found"
    with pytest.raises(AudioError, match="no recording found"):
        find_recordings(str(tmp_path / "*.wav"))


def test_what_does_not_exist_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"typo\.wav: no such file or folder"):
        find_recordings([tmp_path / "typo.wav"])
    with pytest.raises(AudioError, match="no recordings given"):
        find_recordings([])


def test_a_folder_with_an_audio_suffix_is_a_folder(tree):
    assert names(tree("x.wav/a.wav")) == ["x.wav/a.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_links_do_not_go_round_in_circles(tree):
    folder = tree("a.wav", "s/b.wav")
    (folder / "s" / "up").symlink_to(folder)
    (folder / "loop").symlink_to("loop")
    (folder / "c.wav").symlink_to("a.wav")
    assert names(folder) == ["a.wav", "c.wav", "s/b.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_linked_folder_is_searched_and_never_hides_the_real_one(tree, tmp_path_factory):
    folder = tree("z/b.wav")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "c.wav").touch()
    (folder / "a-link").symlink_to(folder / "z")
    (folder / "disk").symlink_to(elsewhere)
    assert names(folder) == ["disk/c.wav", "z/b.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_broken_link_is_listed_so_that_it_becomes_an_error_row(tree):
    folder = tree("a.wav")
    (folder / "gone.wav").symlink_to("nowhere.wav")
    assert names(folder) == ["a.wav", "gone.wav"]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names are Unicode there")
def test_names_that_are_no_unicode_are_escaped(tree):
    folder = tree("a.wav")
    with open(os.fsencode(folder) + b"/caf\xe9.wav", "wb"):
        pass
    found = find_recordings(folder)
    assert [one.name for one in found] == ["a.wav", r"caf\xe9.wav"]
    assert found[1].path.exists()
    found[1].name.encode("utf-8")


def test_shown_path_is_always_printable():
    assert shown_path("плес/ö.wav") == "плес/ö.wav"
    assert shown_path("a\udce9.wav") == r"a\xe9.wav"
    assert shown_path("a\ud800.wav") == r"a\ud800.wav"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_closed_folders(tree, caplog):
    folder = tree("a.wav", "closed/b.wav")
    (folder / "closed").chmod(0)
    try:
        assert names(folder) == ["a.wav"]
        assert "not searched" in caplog.text
        with pytest.raises(AudioError, match="can't be read"):
            find_recordings(folder / "closed")
    finally:
        (folder / "closed").chmod(0o700)
