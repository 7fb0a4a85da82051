"""One thread computes; requests wait in a bounded queue, and texts share batches."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tgp_multimodal.data.tokenizer import Tokenizer
from tgp_multimodal.inference.writing import BATCH, BatchGenerator, GeneratedText, GenerationRequest
from tgp_multimodal.models.text_transformer import TextTransformer

_PATIENCE = 5  # seconds for the running job to notice that the worker closes
CANCELLED = "gone"  # finish reason of a text whose client disconnected


class BusyError(Exception):
    """The line is full, or the server closes."""


class CancelledError(Exception):
    """The client has disconnected, or the server is closing."""


class Pieces(NamedTuple):
    """New text: number of the row and what was written."""

    found: list[tuple[int, str]]


class Done(NamedTuple):
    """The result: rows of a writing job, what `work` returned of another."""

    result: Any


class Failed(NamedTuple):
    """What was raised."""

    error: Exception


Event = Pieces | Done | Failed


class Job:
    """The work of one request.

    Attributes:
        cancelled: set, from any thread, when nobody waits for the answer any more.

    Args:
        emit: called with each event, in the thread that computes.
        requests: texts to write, perhaps in one batch with those of other requests.
        work: computes anything else, when there is no text to write. It gets a function to call
            now and then, which raises `CancelledError` when it is time to stop.
        streams: whether new text is sent as it is written.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        requests: Sequence[GenerationRequest] = (),
        work: Callable[[Callable[[], None]], Any] | None = None,
        streams: bool = False,
    ) -> None:
        assert bool(requests) != bool(work)
        self.emit, self.requests, self.work, self.streams = emit, requests, work, streams
        self.cancelled = False
        self.rows: list[GeneratedText | None] = [None] * len(requests)
        self._is_finished = False

    def check_cancelled(self) -> None:
        """Raises `CancelledError` if nobody waits any more."""
        if self.cancelled:
            raise CancelledError

    def emit_progress(self) -> None:
        """Tells what is new in the texts, and that they are finished."""
        if self._is_finished:
            return
        rows = [row for row in self.rows if row is not None]
        if self.cancelled:
            for row in rows:
                row.finish_reason = row.finish_reason or CANCELLED
        elif self.streams:
            found = [(i, p) for i, row in enumerate(self.rows) if row and (p := row.piece())]
            if found:
                self.emit(Pieces(found))
        if len(rows) == len(self.rows) and all(row.finish_reason for row in rows):
            self.finish(Done(rows))

    def finish(self, event: Event) -> None:
        """Tells the last event, once."""
        if not self._is_finished:
            self._is_finished = True
            self.emit(event)


class Worker:
    """Does one job after another, and generates the texts of several in one batch.

    Texts share a batch if their tokens are sampled in the same way (`Sampling.batch_key`); beyond
    rounding, what is written does not depend on the rest of the batch, as in `writing`.

    Args:
        text: the network that writes.
        tokenizer: its tokenizer.
        waiting: most jobs in the queue.
    """

    def __init__(self, text: TextTransformer, tokenizer: Tokenizer, waiting: int) -> None:
        self.text, self.tokenizer, self.waiting = text, tokenizer, waiting
        self._line: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tgp-worker", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def submit(self, job: Job, is_second: bool = False) -> None:
        """Puts a job into the queue.

        Args:
            job: what to do.
            is_second: it follows a finished job: it goes to the front, whatever the queue's length.

        Raises:
            BusyError: the queue is full, or the worker closes.
        """
        with self._changed:
            if self._closing:
                raise BusyError("server must be open. Got one that closes instead.")
            for one in [
                one for one in self._line if one.cancelled
            ]:  # they take no place in the line
                self._line.remove(one)
                one.finish(Failed(CancelledError()))
            if is_second:
                self._line.appendleft(job)
            elif len(self._line) < self.waiting:
                self._line.append(job)
            else:
                raise BusyError(
                    f"requests that wait must be at most {self.waiting}. Got one more instead."
                )
            self._changed.notify()

    def depth(self) -> int:
        """How many jobs are in line or being done."""
        with self._changed:
            return len(self._line) + len(self._running)

    def close(self) -> None:
        """Stops the running jobs and drops the queued ones; waits some seconds for the thread.

        What cannot be stopped ends with the process: the thread is a daemon.
        """
        with self._changed:
            self._closing = True
            for job in (*self._line, *self._running):
                job.cancelled = True
            self._changed.notify()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while jobs := self._take():
            try:
                if jobs[0].work is None:
                    self._write(jobs)
                else:
                    jobs[0].check_cancelled()
                    jobs[0].finish(Done(jobs[0].work(jobs[0].check_cancelled)))
            except Exception as error:  # of a job; the next one is none the worse
                for job in jobs:
                    job.finish(Failed(error))

    def _take(self) -> list[Job]:
        """The next jobs that can be done together; none when the worker closes."""
        with self._changed:
            self._running = []
            self._changed.wait_for(lambda: self._line or self._closing)
            if not self._line:
                return []
            first = self._line.popleft()
            self._running = [first]
            if first.work is None:
                self._running += self._companions(first)
                self._line = deque(job for job in self._line if job not in self._running)
            return list(self._running)

    def _companions(self, first: Job) -> list[Job]:
        room, batch_key, found = (
            BATCH - len(first.requests),
            first.requests[0].sampling.batch_key,
            [],
        )
        for job in self._line:
            fits = job.work is None and not job.cancelled and len(job.requests) <= room
            if fits and job.requests[0].sampling.batch_key == batch_key:
                room -= len(job.requests)
                found.append(job)
        return found

    def _write(self, jobs: Sequence[Job]) -> None:
        places = [(job, number) for job in jobs for number in range(len(job.requests))]
        for start in range(0, len(places), BATCH):
            some = [
                (job, number) for job, number in places[start : start + BATCH] if not job.cancelled
            ]
            if not some:
                raise CancelledError
            requests = [job.requests[number] for job, number in some]
            writer = BatchGenerator(self.text, self.tokenizer, requests)
            for (job, number), row in zip(some, writer.rows, strict=True):
                job.rows[number] = row
            is_going = True
            while is_going:
                is_going = writer.step()
                for job in jobs:
                    job.emit_progress()
        for job in jobs:  # those that left before they began
            job.finish(Failed(CancelledError()))
