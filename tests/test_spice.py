from __future__ import annotations

import stat
import sys

import pytest

from naturelm_audio import spice
from naturelm_audio.spice import SpiceError, missing_parts, spice_scores

JAVA = """#!/bin/sh
# -Xmx8G -jar spice-1.0.jar IN -out OUT -silent
test "$3" = spice-1.0.jar && test -f "$3" && test "$6" != "" || exit 9
cp answer.json "$6"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make a folder with all parts, and a stand-in for Java that gives back answer.json."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for Java is a shell script")
    folder, programs = tmp_path / "spice", tmp_path / "bin"
    (folder / "lib").mkdir(parents=True)
    programs.mkdir()
    for name in (spice.JAR, *spice.LIBRARIES):
        (folder / name).touch()
    java = programs / "java"
    java.write_text(JAVA)
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv(spice.FOLDER_VARIABLE, str(folder))
    return folder


def test_scores_come_back_in_the_order_of_rows(installed):
    answers = (
        '[{"image_id": 1, "scores": {"All": {"f": 0.5}}}, {"image_id": 0, "scores": {"All": {"f": NaN}}}]'
    )
    (installed / "answer.json").write_text(answers)
    assert spice_scores(["a", "b"], ["c", "d"]) == [0.0, 0.5]


@pytest.mark.parametrize("answers", ["", "[]", '[{"image_id": 0}]'])
def test_answers_that_can_not_be_read(installed, answers):
    (installed / "answer.json").write_text(answers)
    with pytest.raises(SpiceError, match="no scores that can be read"):
        spice_scores(["a"], ["b"])


def test_a_program_that_fails(installed):
    (installed.parent / "bin" / "java").write_text("#!/bin/sh\necho one >&2\necho no memory >&2\nexit 3\n")
    with pytest.raises(SpiceError, match="ended with status 3: no memory"):
        spice_scores(["a"], ["b"])


def test_what_is_missing_is_named(installed, monkeypatch):
    assert missing_parts(installed) == []
    (installed / spice.LIBRARIES[0]).unlink()
    with pytest.raises(SpiceError, match=r"needs lib/stanford-corenlp-3.6.0.jar: install Java") as found:
        spice_scores(["a"], ["b"])
    assert "\n" not in str(found.value)
    monkeypatch.setenv("PATH", "")
    assert missing_parts(None) == ["Java", "the SPICE program (spice-1.0.jar)"]


def test_without_anything_installed_there_is_no_folder(monkeypatch):
    monkeypatch.delenv(spice.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(spice.importlib.util, "find_spec", lambda name: None)
    assert spice.spice_folder() is None
    with pytest.raises(SpiceError, match="the SPICE program"):
        spice_scores(["a"], ["b"])
