"""What ranking a list of labels costs for one window, in greedy answers, and how it grows with the list.

    python benchmarks/ranking.py [--model naturelm-tiny] [--llama FOLDER] [--threads 1] [--windows 1]
                                 [--answer-tokens 8] [--sizes 2,19,264,1000,10000] [--repeats 7]

Both begin with the audio vectors of the window: the encoder, which either needs once, has a line of its own,
and the ratio is given without and with it. The lists are the 264 labels of BEANS-Zero's cbi, those of its
other components, then made-up names. Every list is timed in turns with a greedy answer and each figure is a
median, so that other work on the machine hits both alike. A model of random weights never stops by itself;
its answers have as many tokens as --answer-tokens allows.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from naturelm_audio import load_model, prompts
from naturelm_audio.components import beans_zero
from naturelm_audio.generate import Generator, Request
from naturelm_audio.options import GenerateOptions
from naturelm_audio.score import LabelScorer

QUESTION = "What is the common name for the focal species in the audio?"


def some_labels(count: int) -> list[str]:
    components = beans_zero().components
    first = components["cbi"].labels
    others = itertools.chain(*(component.labels for component in components.values()))
    made_up = (f"{one} {other}" for one in first for other in first)
    return list(dict.fromkeys(itertools.chain(first, others, made_up)))[:count]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="naturelm-tiny")
    parser.add_argument("--llama")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--answer-tokens", type=int, default=8)
    parser.add_argument("--sizes", default="2,19,264,1000,10000")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model, llama=options.llama, device=options.device)
    greedy = GenerateOptions(num_beams=1, max_new_tokens=options.answer_tokens)
    generator = Generator(model, greedy, batch_size=options.windows)
    noise = np.random.default_rng(0)
    clips = [noise.normal(0, 0.1, 160_000).astype(np.float32) for _ in range(options.windows)]
    prompt = prompts.build(QUESTION, template=model.config.prompt_template)
    requests = [Request(prompt, (vectors,)) for vectors in generator.encode(clips)]
    tokens = statistics.mean(len(answer.token_ids) for answer in generator.answer(requests))
    print(f"{options.model}: {options.windows} windows of 10 s, {options.threads} threads, {model.dtype}")
    encoder = statistics.median(seconds(lambda: generator.encode(clips)) for _ in range(options.repeats))
    print(f"encoder {1000 * encoder:.1f} ms; a greedy answer has {tokens:.1f} tokens")
    for size in map(int, options.sizes.split(",")):
        scorer = LabelScorer(generator, some_labels(size))
        scorer.log_likelihoods(requests)
        work = (lambda: generator.answer(requests), partial(scorer.log_likelihoods, requests))
        times = [[seconds(one) for one in work] for _ in range(options.repeats)]
        answer, ranking = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{size:6d} labels, {scorer.token_count:6d} tokens: {1000 * ranking:8.1f} ms, greedy "
            f"{1000 * answer:6.1f} ms: {ranking / answer:6.2f} times, with the encoder "
            f"{(ranking + encoder) / (answer + encoder):6.2f} times"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
