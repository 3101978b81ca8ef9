"""Windows from sample positions: every sample heard, nothing beyond the end, streaming equal to planning."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.windows import Window, WindowPlan

RATE = 100  # a low rate keeps the arithmetic readable: one sample is 0.01 s


def spans(plan: WindowPlan, seconds: float) -> list[tuple[float, float]]:
    total = round(seconds * plan.sample_rate_hz)
    return [(window.start_seconds, window.end_seconds) for window in plan.windows(total)]


def cut_samples(plan: WindowPlan, blocks: list[np.ndarray]) -> list[tuple[Window, np.ndarray]]:
    return list(plan.cut(iter(blocks)))


@st.composite
def plans(draw, gaps: bool = False) -> WindowPlan:
    window = draw(st.integers(50, 3000)) / RATE
    hop = draw(st.integers(1, round(window * RATE))) / RATE
    if gaps:
        hop = window + draw(st.integers(1, 2000)) / RATE
    return WindowPlan(window, hop, sample_rate_hz=RATE, allow_gaps=gaps)


totals = st.integers(50, 20_000)


# --- the numbers in the specification -----------------------------------------------------------------------


def test_I1_tail_is_kept():
    assert spans(WindowPlan(10, 10), 19.9) == [(0, 10), (10, 19.9)]
    assert spans(WindowPlan(10, 10), 25) == [(0, 10), (10, 20), (20, 25)]


def test_I2_end_is_never_beyond_the_recording():
    assert spans(WindowPlan(10, 10), 4.9) == [(0, 4.9)]
    assert spans(WindowPlan(10, 5), 12.3) == [(0, 10), (5, 12.3)]


def test_I3_a_window_longer_than_the_models_is_split_into_what_is_heard():
    assert spans(WindowPlan(20, 20), 40) == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert spans(WindowPlan(12, 12), 24) == [(0, 6), (6, 12), (12, 18), (18, 24)]


def test_I3_splitting_can_be_refused():
    with pytest.raises(OptionsError, match=r"window length 12 s is longer than the 10 s"):
        WindowPlan(12, 12, allow_split=False)


def test_I3_parts_of_overlapping_long_windows_come_once():
    assert spans(WindowPlan(20, 10), 40) == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert spans(WindowPlan(20, 5), 20) == [(0, 10), (5, 15), (10, 20)]


@pytest.mark.parametrize("hop", [0, -1, -0.0001, float("nan"), float("inf"), 1e-9, 0.00003])
def test_I4_a_hop_that_never_ends_is_refused(hop):
    with pytest.raises(OptionsError, match="hop length"):
        WindowPlan(10, hop)


@pytest.mark.parametrize("window", [0, -10, float("nan"), float("inf"), 1e-9, 0.4])
def test_I4_a_window_without_sound_is_refused(window):
    with pytest.raises(OptionsError, match="window length"):
        WindowPlan(window, None)


def test_I4_gaps_only_if_allowed():
    with pytest.raises(OptionsError, match="allow gaps"):
        WindowPlan(5, 5.1)
    assert spans(WindowPlan(5, 60, allow_gaps=True), 130) == [(0, 5), (60, 65), (120, 125)]


@pytest.mark.parametrize("field", ["model_max_seconds", "min_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_the_models_lengths_are_checked_too(field, value):
    with pytest.raises(OptionsError, match="above 0"):
        WindowPlan(10, 10, **{field: value})


def test_parts_below_the_shortest_window_are_refused():
    with pytest.raises(OptionsError, match="can't be cut into parts"):
        WindowPlan(0.7, 0.7, model_max_seconds=0.6)


def test_hop_is_the_window_unless_given():
    assert spans(WindowPlan(4), 9) == [(0, 4), (4, 8), (8, 9)]


def test_a_short_rest_starts_earlier():
    assert spans(WindowPlan(10, 10), 20.2) == [(0, 10), (10, 20), (19.7, 20.2)]
    assert spans(WindowPlan(10, 10), 20.5) == [(0, 10), (10, 20), (20, 20.5)]


def test_a_short_rest_behind_a_gap_starts_in_the_gap():
    assert spans(WindowPlan(5, 10, allow_gaps=True), 10.1) == [(0, 5), (9.6, 10.1)]


def test_a_recording_that_ends_in_a_gap_has_no_further_window():
    assert spans(WindowPlan(5, 10, allow_gaps=True), 7) == [(0, 5)]


def test_split_windows_with_gaps_keep_to_the_windows():
    assert spans(WindowPlan(20, 30, allow_gaps=True), 55) == [(0, 10), (10, 20), (30, 40), (40, 50)]


def test_no_window_after_one_that_reaches_the_end():
    assert spans(WindowPlan(10, 1), 10) == [(0, 10)]
    assert spans(WindowPlan(10, 5), 15) == [(0, 10), (5, 15)]


@pytest.mark.parametrize(
    ("total", "code"), [(0, "audio_empty"), (1, "audio_too_short"), (7999, "audio_too_short")]
)
def test_too_little_sound_is_an_error(total, code):
    with pytest.raises(AudioError) as caught:
        WindowPlan().windows(total)
    assert caught.value.code == code
    with pytest.raises(AudioError) as caught:
        cut_samples(WindowPlan(), [np.zeros(total, np.float32)])
    assert caught.value.code == code


def test_half_a_second_is_enough():
    assert spans(WindowPlan(), 0.5) == [(0, 0.5)]


def test_X6_times_do_not_drift():
    plan = WindowPlan(10, 0.1)  # 0.1 has no exact binary form
    last = plan.windows(16_000 * 3600)[-1]
    assert (last.start_seconds, last.end_seconds) == (3590.0, 3600.0)


def test_X6_times_are_mapped_back_after_a_change_of_speed():
    window = Window(index=3, start_sample=480_000, end_sample=640_000, sample_rate_hz=16_000)
    assert window.seconds_in_file() == (window.start_seconds, window.end_seconds) == (30.0, 40.0)
    assert window.seconds_in_file(0.1) == (3.0, 4.0)
    assert window.seconds_in_file(10) == (300.0, 400.0)


def test_times_have_six_decimals():
    assert Window(0, 1, 3, 16_000).start_seconds == 0.000063
    assert Window(0, 1, 3, 7).end_seconds == 0.428571


# --- properties ---------------------------------------------------------------------------------------------


@given(plans(), totals)
def test_every_sample_is_in_a_window(plan, total):
    found = plan.windows(total)
    assert found[0].start_sample == 0
    assert found[-1].end_sample == total
    for before, after in itertools.pairwise(found):
        assert after.start_sample <= before.end_sample


@given(st.one_of(plans(), plans(gaps=True)), totals)
def test_windows_advance_and_fit_the_model(plan, total):
    found = plan.windows(total)
    longest = round(min(plan.window_length_seconds, plan.model_max_seconds) * RATE)
    for index, window in enumerate(found):
        assert window.index == index
        assert 0 <= window.start_sample < window.end_sample <= total
        assert plan.min_seconds * RATE <= window.end_sample - window.start_sample <= longest
    for before, after in itertools.pairwise(found):
        assert before.start_sample < after.start_sample
        assert before.end_sample < after.end_sample
    assert len({(window.start_sample, window.end_sample) for window in found}) == len(found)


@given(plans(gaps=True), totals)
def test_gaps_are_as_long_as_asked(plan, total):
    window, hop = round(plan.window_length_seconds * RATE), round(plan.hop_length_seconds * RATE)
    heard = np.zeros(total, bool)
    for found in plan.windows(total):
        heard[found.start_sample : found.end_sample] = True
    wanted = np.arange(total) % hop < window
    assert heard[wanted].all()
    # Only a short rest may reach back into a gap.
    assert np.count_nonzero(heard & ~wanted) < plan.min_seconds * RATE


@given(st.integers(50, 1000), totals)
def test_without_splitting_windows_start_at_multiples_of_the_hop(window, total):
    plan = WindowPlan(window / RATE, window / RATE, sample_rate_hz=RATE)
    found = plan.windows(total)
    assert len(found) == -(-total // window)
    assert [one.start_sample for one in found[:-1]] == [window * index for index in range(len(found) - 1)]


@given(st.one_of(plans(), plans(gaps=True)), totals, st.lists(st.integers(0, 4000), min_size=1, max_size=12))
def test_cut_gives_the_same_windows_as_the_plan(plan, total, block_samples):
    samples = np.arange(total, dtype=np.float32)
    sizes = itertools.cycle([*block_samples, 700])
    blocks, at = [], 0
    while at < total:
        size = next(sizes)
        blocks.append(samples[at : at + size])
        at += size
    cut = cut_samples(plan, blocks)
    assert [window for window, _ in cut] == plan.windows(total)
    for window, heard in cut:
        np.testing.assert_array_equal(heard, samples[window.start_sample : window.end_sample])
        assert heard.dtype == np.float32


# --- streaming ----------------------------------------------------------------------------------------------


def test_cut_yields_a_window_as_soon_as_it_is_complete():
    asked = 0

    def blocks():
        nonlocal asked
        for _ in range(10):
            asked += 1
            yield np.zeros(100, np.float32)

    windows = WindowPlan(2, 2, sample_rate_hz=RATE).cut(blocks())
    next(windows)
    assert asked == 2


def test_cut_survives_a_producer_that_fills_its_block_again():
    block = np.empty(30, np.float32)

    def blocks():
        for start in range(0, 300, 30):
            block[:] = np.arange(start, start + 30)
            yield block

    cut = [heard for _, heard in WindowPlan(1, 1, sample_rate_hz=RATE).cut(blocks())]
    np.testing.assert_array_equal(np.concatenate(cut), np.arange(300))
    cut[0][:] = -1  # windows belong to the caller
    assert cut[1][0] == 100


def test_what_came_before_a_fault_is_heard_and_then_the_fault_is_raised():
    def blocks():
        yield np.zeros(250, np.float32)
        raise AudioError("broken at 2.5 s")

    windows = WindowPlan(1, 1, sample_rate_hz=RATE).cut(blocks())
    heard = [(window.start_seconds, window.end_seconds) for window, _ in itertools.islice(windows, 3)]
    assert heard == [(0, 1), (1, 2), (2, 2.5)]
    with pytest.raises(AudioError, match=r"broken at 2\.5 s"):
        next(windows)


def test_a_fault_before_the_shortest_window_is_the_fault_itself():
    def blocks():
        yield np.zeros(20, np.float32)
        raise AudioError("broken at 0.2 s")

    with pytest.raises(AudioError, match="broken"):
        list(WindowPlan(1, 1, sample_rate_hz=RATE).cut(blocks()))


@pytest.mark.parametrize(("hop", "gaps"), [(10, False), (2.5, False), (600, True)])
def test_memory_of_cut_does_not_grow_with_the_recording(hop, gaps):
    plan = WindowPlan(10, hop, allow_gaps=gaps)
    block = np.zeros(40_000, np.float32)

    def peak_bytes(blocks: int) -> int:
        tracemalloc.start()
        for _ in plan.cut(block for _ in range(blocks)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    window_bytes = 160_000 * 4
    # What is held, one window handed out, and one being put together.
    assert peak_bytes(1500) < 4 * window_bytes
    assert peak_bytes(1500) <= peak_bytes(500) + 10_000
