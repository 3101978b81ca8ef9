import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_zoo import SPECIES, heard, recording

from naturelm_audio.beans_build.mixtures import counting
from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import LeftOut
from naturelm_audio.errors import LabelError


def finches(birds=5, each=3, **fields):
    return [
        heard(recording("Zebra Finch", 10 * bird + n, individual=f"bird {bird}"), **fields)
        for bird in range(birds)
        for n in range(each)
    ]


def options(**fields):
    return ComponentOptions(**{"rule": "counting", **fields})


@given(
    st.integers(2, 6), st.integers(1, 4), st.integers(2, 4), st.integers(0, 5), st.sampled_from([3.0, 25.0])
)
def test_mixtures_are_of_different_animals_half_of_one(birds, each, most, seed, seconds):
    given = finches(birds, each, seconds=seconds)
    component = counting(given, options(most_animals=most, rows=40), seed, LeftOut())
    assert component.counts == {"One": 20, "More": 20}
    who = {one.recording.path: one.recording.individual for one in given}
    for row in component.rows:
        names = [who[part.path] for part in row.mix.parts]
        assert len(set(names)) == len(names) <= min(most, birds)
        assert row.text == ("One" if len(names) == 1 else "More")
        assert row.metadata["animals"] == len(names)
        for part in row.mix.parts:
            used = (part.end_seconds or seconds) - part.start_seconds
            assert part.start_seconds >= 0
            assert part.offset_seconds + used <= 10.0 + 2e-3


def test_draws_follow_the_seed_alone():
    given = finches()
    first = counting(given, options(), 1, LeftOut())
    assert counting(given[::-1], options(), 1, LeftOut()) == first
    assert counting(given, options(), 2, LeftOut()) != first
    assert len(first.rows) == len(given)


def test_how_loud_a_mixture_is_tells_nothing():
    component = counting(finches(), options(rows=200), 0, LeftOut())
    peaks = {"One": [], "More": []}
    for row in component.rows:
        peaks[row.text].append(sum(0.5 * 10 ** (part.gain_db / 20) for part in row.mix.parts))
    for found in peaks.values():
        assert 0.29 < min(found) < 0.4
        assert 0.8 < max(found) < 0.91


def test_the_others_are_less_loud_than_the_first_by_what_is_allowed():
    given = finches()
    quiet = [heard(one.recording, level_db=-40.0) for one in given[:7]] + given[7:]
    component = counting(quiet, options(rows=60, quietest_db=-6.0), 0, LeftOut())
    level = {one.recording.path: one.sound.level_db for one in quiet}
    for row in component.rows:
        levels = [level[part.path] + part.gain_db for part in row.mix.parts]
        assert all(levels[0] - 6.02 <= one <= levels[0] + 0.02 for one in levels)


def test_labels_or_species_can_stand_for_individuals():
    given = [heard(recording(name, n)) for name in SPECIES for n in range(3)]
    for who in ("label", "species"):
        component = counting(given, options(who=who, rows=30), 0, LeftOut())
        for row in component.rows:
            names = [part.path.rpartition("-")[0] for part in row.mix.parts]
            assert len(set(names)) == len(names)
    with pytest.raises(LabelError, match=r"recordings of two individuals, there are 0.*choose 'who' from"):
        counting(given, options(), 0, LeftOut())


def test_a_recording_with_others_in_it_is_not_one_animal():
    left_out = LeftOut()
    extra = heard(recording("Zebra Finch", 99, individual="bird 0", background=("rain",)))
    component = counting([*finches(), extra], options(), 0, left_out)
    assert left_out.examples == {"counting: who calls is not known": [extra.recording.path]}
    assert all(extra.recording.path not in row.paths for row in component.rows)


def test_a_clip_of_a_mixture_is_never_silent():
    given = finches(seconds=60.0)
    for one in given:
        one.sound.peaks[:] = type(one.sound.peaks)("f", [0.0] * 59 + [0.5])
    component = counting(given, options(rows=20), 0, LeftOut())
    for row in component.rows:
        assert all(part.end_seconds is None or part.end_seconds > 59.0 for part in row.mix.parts)


def test_the_question_and_answers_can_be_ones_own():
    component = counting(finches(), options(prompt="How many? {}", answers=("1", "more")), 0, LeftOut())
    assert component.prompt == "How many? 1, more"
    assert component.labels == ("1", "more")


def test_a_mixture_names_the_licences_of_all_its_parts():
    given = [
        heard(
            recording("Zebra Finch", n, individual=f"bird {n}", source=f"set {n}", licence="CC0" if n else "")
        )
        for n in range(2)
    ]
    component = counting(given, options(rows=4), 0, LeftOut())
    mixed = next(row for row in component.rows if row.text == "More")
    assert (mixed.source, mixed.license) == ("set 0; set 1", "CC0; unknown")
