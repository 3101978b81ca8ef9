from pathlib import Path

import pytest
from small_zoo import SPECIES, heard, recording

from naturelm_audio.beans_build.leaks import (
    LeakReport,
    check_leaks,
    is_trained,
    refuse_trained_taxa,
    without_leaks,
)
from naturelm_audio.beans_build.planned import LeftOut
from naturelm_audio.errors import AudioError
from naturelm_audio.train.manifest.holdouts import shipped_holdouts
from naturelm_audio.train.manifest.problems import ManifestError

HELD = [recording(name, number) for name in SPECIES for number in range(2)]
SOUNDS = {one.path: heard(one).sound for one in HELD}
ROOT = Path("training")


def checked(training, sounds=None, holdouts=None):
    return check_leaks(training, sounds or {}, ROOT, HELD, SOUNDS, holdouts)


def test_nothing_in_common():
    report = checked([recording("Crested Tit")])
    assert report.leaks == ()
    assert report.paths == {}
    assert report.checked
    assert not report.compared_audio
    assert without_leaks(HELD, report, "refuse", LeftOut()) == HELD


def test_a_planted_recording_is_found_by_its_id():
    report = checked([recording("Crested Tit", path="other.wav", recording_id="Barn Owl-1")])
    assert report.paths == {"Barn Owl-1.wav": "is in training too"}
    left_out = LeftOut()
    assert len(without_leaks(HELD, report, "drop", left_out)) == len(HELD) - 1
    assert left_out.examples == {"training: is in training too": ["Barn Owl-1.wav"]}
    with pytest.raises(ManifestError, match="1 recordings are in training too") as caught:
        without_leaks(HELD, report, "refuse", LeftOut())
    assert "Barn Owl-1.wav" in str(caught.value)


def test_a_planted_sound_is_found_under_another_name():
    copied = recording("copy", path="copy.wav")
    sounds = {ROOT / "copy.wav": SOUNDS["Barn Owl-0.wav"]}
    report = checked([copied], sounds)
    assert report.paths == {"Barn Owl-0.wav": "sounds the same as a training recording"}
    assert report.as_json()["shared_sounds"] == 1
    assert checked([copied]).leaks == ()


def test_files_of_one_name_in_two_tables_are_two_files():
    same_name = recording("Crested Tit", path=HELD[0].path, recording_id="elsewhere")
    sounds = {ROOT / HELD[0].path: heard(recording("other")).sound}
    assert checked([same_name], sounds).leaks == ()


def test_a_training_recording_that_cannot_be_read_is_counted():
    report = checked([recording("x"), recording("y")], {ROOT / "x-0.wav": AudioError("broken")})
    assert report.unreadable == 2


def test_shared_taxa_are_told_but_no_fault():
    report = checked([recording("Barn Owl", 77)])
    assert report.shared_taxa == ("Tyto alba",)
    assert report.leaks == ()


@pytest.mark.parametrize(
    "training",
    [
        recording("Zebra Finch", 77),
        recording("Some finch", taxon=recording("Zebra Finch").taxon),
        recording("song", caption="A zebra finch sings in its cage."),
    ],
)
def test_held_out_taxa_in_training_are_found(training):
    holdouts = shipped_holdouts()
    report = checked([training], holdouts=holdouts)
    assert sum(report.held_out.values()) == 1
    assert is_trained(recording("Zebra Finch"), report, holdouts)
    assert not is_trained(recording("Barn Owl"), report, holdouts)
    refuse_trained_taxa(report, "drop")
    with pytest.raises(ManifestError, match="training has what is held out"):
        refuse_trained_taxa(report, "refuse")


def test_nothing_is_refused_without_a_training_table():
    refuse_trained_taxa(LeakReport(), "refuse")
    assert LeakReport().as_json()["checked"] is False
