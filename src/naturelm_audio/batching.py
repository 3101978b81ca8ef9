"""One queue in front of a generator: the requests of many callers share its batches, and none waits for
another's whole job.

A model is used by one thread at a time. Callers that each bring their own thread (users of the web app,
requests to a server) hand their rows to the queue and wait; its thread fills every batch with the rows of all
who wait, one from each in turn. An answer never depends on its batch, so it is the same as without the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from naturelm_audio.errors import NatureLMError
from naturelm_audio.generate import Generated, Generator, Request
from naturelm_audio.options import GenerateOptions

__all__ = ["BatchingQueue", "QueueClosedError", "QueuedGenerator"]

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class QueueClosedError(NatureLMError):
    """The model behind the queue was let go before the work was done."""


class _Ticket:
    """What one caller waits for: items of one kind, and their results as they come."""

    def __init__(self, work: Callable[[list[Any]], list[Any]], kind: object, items: Sequence[Any]) -> None:
        self.work = work
        self.kind = kind  # tickets of equal kind may share a batch
        self.items = list(items)
        self.results: list[Any] = [None] * len(self.items)
        self.taken = 0
        self.missing = len(self.items)
        self.error: BaseException | None = None
        self.finished = threading.Event()

    def put(self, place: int, result: Any) -> None:
        self.results[place] = result
        self.missing -= 1
        if not self.missing:
            self.finished.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.taken = len(self.items)
        self.finished.set()


_Share = tuple[_Ticket, list[int]]
"""Rows of one ticket in a batch."""


class BatchingQueue:
    """Runs the work of many callers on one generator, on a thread of its own.

    Args:
        generator: of the model; its batch size is the number of rows at once.
    """

    def __init__(self, generator: Generator) -> None:
        self.inner = generator
        self._waiting: list[_Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._used = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="batching-queue", daemon=True)
        self._thread.start()

    def generator(self, options: GenerateOptions | None = None) -> QueuedGenerator:
        """Return a generator for one caller, with options of its own, that works through this queue."""
        return QueuedGenerator(self, options or self.inner.options)

    @property
    def waiting(self) -> int:
        """How many callers wait now."""
        with self._changed:
            return len(self._waiting)

    @property
    def idle_seconds(self) -> float:
        """For how long nobody has had work for it; 0 while somebody waits."""
        return 0.0 if self.waiting else time.monotonic() - self._used

    def encode(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Return the vectors of each waveform, see :meth:`Generator.encode`.

        Raises:
            QueueClosedError: the queue was closed.
        """
        return self._submit(self.inner.encode, "encode", waveforms)

    def answer(self, requests: Sequence[Request], options: GenerateOptions) -> list[Generated]:
        """Return the answers in order, see :meth:`Generator.answer`.

        Raises:
            PromptError: placeholders and clips of a request differ in number.
            OutOfMemoryError: one request alone is too large.
            QueueClosedError: the queue was closed.
        """
        return self._submit(lambda batch: self.inner.answer(batch, options), options, requests)

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Return what ``work`` returns; it has the model for itself while it runs.

        Raises:
            QueueClosedError: the queue was closed.
        """
        return self._submit(lambda _: [work()], object(), [None])[0]

    def close(self) -> None:
        """End the thread after its batch; whoever still waits gets a QueueClosedError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _submit(self, work: Callable[[list[Any]], list[Any]], kind: object, items: Sequence[Any]) -> Any:
        if threading.current_thread() is self._thread:  # work that itself asks the model
            return work(list(items))
        if not items:
            return []
        ticket = _Ticket(work, kind, items)
        with self._changed:
            if self._closed:
                raise QueueClosedError("this model was closed: choose a model and ask again")
            self._waiting.append(ticket)
            self._changed.notify_all()
        ticket.finished.wait()
        if ticket.error is not None:
            raise ticket.error
        return ticket.results

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._do(batch)
            self._used = time.monotonic()

    def _next_batch(self) -> list[_Share] | None:
        """Wait for work; return what is done next, or None when the queue is closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                for ticket in self._waiting:
                    ticket.fail(QueueClosedError("this model was closed: choose a model and ask again"))
                self._waiting.clear()
                return None
            batch = self._fill(self._waiting[0].kind)
            self._waiting = [ticket for ticket in self._waiting if ticket.taken < len(ticket.items)]
            # Who was served goes to the end, so that work of another kind comes next.
            served = {id(ticket) for ticket, _ in batch}
            self._waiting.sort(key=lambda ticket: id(ticket) in served)
            return batch

    def _fill(self, kind: object) -> list[_Share]:
        """Take rows of one kind, one from each caller in turn, until the batch is full."""
        takers = [ticket for ticket in self._waiting if ticket.kind == kind]
        shares: list[_Share] = [(ticket, []) for ticket in takers]
        free = self.inner.batch_size
        while free and any(ticket.taken < len(ticket.items) for ticket in takers):
            for ticket, rows in shares:
                if free and ticket.taken < len(ticket.items):
                    rows.append(ticket.taken)
                    ticket.taken += 1
                    free -= 1
        return [share for share in shares if share[1]]

    def _do(self, batch: list[_Share]) -> None:
        try:
            results = batch[0][0].work([ticket.items[row] for ticket, rows in batch for row in rows])
        except BaseException as error:  # handed to its caller, which raises it; the thread serves the others
            if len(batch) == 1:
                batch[0][0].fail(error)
                return
            logger.debug("a shared batch failed (%s): each caller's rows alone", error)
            for share in batch:
                self._do([share])
            return
        remaining = iter(results)
        for ticket, rows in batch:
            for row in rows:
                ticket.put(row, next(remaining))


class QueuedGenerator(Generator):
    """A generator whose work goes through a queue: what a pipeline of one caller is given.

    Args:
        queue: in front of the generator that does the work.
        options: of this caller.
    """

    def __init__(self, queue: BatchingQueue, options: GenerateOptions) -> None:
        super().__init__(queue.inner.model, options, batch_size=queue.inner.batch_size)
        self.queue = queue

    def encode(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Return the vectors of each waveform, see :meth:`Generator.encode`."""
        return self.queue.encode(waveforms)

    def answer(self, requests: Sequence[Request], options: GenerateOptions | None = None) -> list[Generated]:
        """Return the answers in order, see :meth:`Generator.answer`."""
        return self.queue.answer(requests, options or self.options)

    def exclusively(self, work: Callable[[], _Result]) -> _Result:
        """Return what ``work`` returns; it has the model for itself while it runs."""
        return self.queue.run(work)
