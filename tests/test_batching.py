"""One queue for many callers: the same answers, shared batches, nobody starves, faults stay at home."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import toys

from naturelm_audio import prompts
from naturelm_audio.batching import BatchingQueue, QueueClosedError
from naturelm_audio.errors import PromptError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.options import GenerateOptions
from naturelm_audio.pipeline import Clip, Pipeline

GREEDY = GenerateOptions(num_beams=1, max_new_tokens=4)
BEAMS = GenerateOptions(num_beams=2, max_new_tokens=4)


@pytest.fixture(scope="module")
def model():
    return toys.model()


@pytest.fixture
def queue(model):
    made = BatchingQueue(Generator(model, GREEDY, batch_size=3))
    yield made
    made.close()


def requests(generator, count, seed=0):
    vectors = generator.encode([toys.waveform(0.5, seed + number) for number in range(count)])
    questions = ("Which?", "Caption the audio.", "A longer question about what is heard?")
    return [
        Request(prompts.build(questions[number % 3]), (vector,), f"{seed}-{number}")
        for number, vector in enumerate(vectors)
    ]


class Spy(Generator):
    """Notes the sizes of batches; `gate` holds the first one back."""

    def __init__(self, model, options, batch_size):
        super().__init__(model, options, batch_size=batch_size)
        self.batches = []
        self.gate = threading.Event()
        self.entered = threading.Event()

    def answer(self, requests, options=None):
        self.batches.append([request.key for request in requests])
        self.entered.set()
        assert self.gate.wait(30)
        return super().answer(requests, options)


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_answers_of_many_callers_are_those_without_a_queue(model, queue):
    alone = Generator(model, GREEDY, batch_size=1)
    work = [requests(alone, 4, seed=10 * caller) for caller in range(5)]
    options = [GREEDY, BEAMS, GREEDY, BEAMS, GREEDY]
    expected = [alone.answer(mine, chosen) for mine, chosen in zip(work, options, strict=True)]
    with ThreadPoolExecutor(5) as pool:
        found = list(
            pool.map(lambda one: queue.generator(one[1]).answer(one[0]), zip(work, options, strict=True))
        )
    for mine, theirs in zip(found, expected, strict=True):
        assert [answer.token_ids for answer in mine] == [answer.token_ids for answer in theirs]
        assert [answer.text for answer in mine] == [answer.text for answer in theirs]


def test_a_pipeline_works_through_it(toy_model):
    clip = Clip(toys.waveform(12.5, 3))
    pipeline = Pipeline(toy_model, GREEDY)
    expected = [answer.to_json() for answer in pipeline.ask(clip, "What is heard?")]
    queue = BatchingQueue(Generator(toy_model, GREEDY, batch_size=3))
    pipeline.generator = queue.generator(GREEDY)
    assert [answer.to_json() for answer in pipeline.ask(clip, "What is heard?")] == expected
    queue.close()


def test_waiting_callers_share_a_batch_one_row_from_each_in_turn(model):
    spy = Spy(model, GREEDY, batch_size=4)
    queue = BatchingQueue(spy)
    made = requests(Generator(model, GREEDY), 1, seed=90)
    many, few = requests(Generator(model, GREEDY), 6, seed=0), requests(Generator(model, GREEDY), 2, seed=50)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(queue.answer, made, GREEDY)
        assert spy.entered.wait(30)
        long_job = pool.submit(queue.answer, many, GREEDY)
        wait_for(lambda: queue.waiting == 1)
        short_job = pool.submit(queue.answer, few, GREEDY)
        wait_for(lambda: queue.waiting == 2)
        spy.gate.set()
        assert len(short_job.result(60)) == 2
        assert len(long_job.result(60)) == 6
        assert len(first.result(60)) == 1
    queue.close()
    # Both of the short job are in the first batch after the one that was running.
    assert sorted(spy.batches[1]) == ["0-0", "0-1", "50-0", "50-1"]
    assert [len(batch) for batch in spy.batches] == [1, 4, 4]


def test_a_fault_reaches_its_caller_alone(model):
    spy = Spy(model, GREEDY, batch_size=8)
    queue = BatchingQueue(spy)
    good = requests(Generator(model, GREEDY), 2)
    bad = [Request("no place for the clip", good[0].audio, "bad")]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(queue.answer, requests(Generator(model, GREEDY), 1, seed=5), GREEDY)
        assert spy.entered.wait(30)
        fine = pool.submit(queue.answer, good, GREEDY)
        wait_for(lambda: queue.waiting == 1)
        wrong = pool.submit(queue.answer, bad, GREEDY)
        wait_for(lambda: queue.waiting == 2)
        spy.gate.set()
        with pytest.raises(PromptError):
            wrong.result(60)
        assert len(fine.result(60)) == 2
        assert len(first.result(60)) == 1
    assert len(queue.answer(good, GREEDY)) == 2
    queue.close()


def test_work_of_another_kind_has_the_model_for_itself(queue):
    assert queue.run(lambda: threading.current_thread().name) == "batching-queue"
    # Work that asks the model itself doesn't wait for itself.
    assert len(queue.run(lambda: queue.encode([toys.waveform(0.5)]))) == 1


def test_no_rows_are_no_work(queue):
    assert queue.answer([], GREEDY) == []


def test_it_knows_how_long_nobody_needed_it(queue):
    queue.run(lambda: time.sleep(0.05))
    assert queue.idle_seconds < 5.0
    time.sleep(0.1)
    assert queue.idle_seconds >= 0.1


def test_who_waits_when_it_closes_is_told(model):
    spy = Spy(model, GREEDY, batch_size=1)
    queue = BatchingQueue(spy)
    one = requests(Generator(model, GREEDY), 1)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(queue.answer, one, GREEDY)
        assert spy.entered.wait(30)
        waiting = pool.submit(queue.answer, one, GREEDY)
        wait_for(lambda: queue.waiting == 1)
        closing = threading.Thread(target=queue.close)
        closing.start()
        spy.gate.set()
        closing.join()
        assert len(running.result(60)) == 1
        with pytest.raises(QueueClosedError, match="closed"):
            waiting.result(60)
    with pytest.raises(QueueClosedError):
        queue.answer(one, GREEDY)


def test_rankings_of_several_callers_are_those_without_a_queue(toy_model):
    clips = [Clip(toys.waveform(12.5, seed), name=f"{seed}") for seed in range(3)]
    labels = ["wren", "robin", "a wren or a robin"]

    def rank(pipeline, clip):
        return [answer.to_json() for answer in pipeline.ask(clip, "Which?", labels=labels)]

    alone = Pipeline(toy_model, GREEDY)
    expected = [rank(alone, clip) for clip in clips]
    queue = BatchingQueue(Generator(toy_model, GREEDY, batch_size=3))
    shared = [Pipeline(toy_model, GREEDY) for _ in clips]
    for pipeline in shared:
        pipeline.generator = queue.generator(GREEDY)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(rank, shared, clips)) == expected
    queue.close()
