"""One thread computes: batches, order, a full line, and jobs that nobody waits for."""

import queue
import threading
import time

import pytest
from random_networks import text_transformer

from tgp_multimodal.inference import writing
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.inference.writing import BatchGenerator, GenerationRequest
from tgp_multimodal.serving import worker as workers
from tgp_multimodal.serving.worker import BusyError, CancelledError, Done, Job, Pieces, Worker


@pytest.fixture(scope="module")
def network(tokenizer):
    return text_transformer(tokenizer.vocabulary)


@pytest.fixture
def worker(network, tokenizer):
    """Not started yet, so that a test can fill its line."""
    found = Worker(network, tokenizer, waiting=6)
    yield found
    if found._thread.ident is None:
        found.start()
    found.close()


@pytest.fixture
def sizes(monkeypatch):
    """Rows of each batch that is written."""
    found = []

    class Counted(BatchGenerator):
        def __init__(self, text, tokenizer, asked):
            found.append(len(asked))
            super().__init__(text, tokenizer, asked)

    monkeypatch.setattr(workers, "BatchGenerator", Counted)
    return found


def submitted(worker, *asked, streams=False):
    events = queue.Queue()
    job = Job(events.put, requests=asked, streams=streams)
    worker.submit(job)
    return job, events


def texts(events):
    event = events.get(timeout=20)
    assert isinstance(event, Done)
    return [row.text() for row in event.result]


def asked(tokenizer, prompt, **settings):
    return GenerationRequest(writing.plain_prompt(tokenizer, prompt, 30), Sampling(**settings))


def test_requests_that_draw_alike_share_a_batch(worker, network, tokenizer, sizes):
    own = [
        [asked(tokenizer, "a", max_tokens=9, temperature=0.9, seed=1)],
        [asked(tokenizer, "b", max_tokens=9)],
        [asked(tokenizer, "The river", max_tokens=5, temperature=0.9, seed=i) for i in range(3)],
        [asked(tokenizer, "c", max_tokens=20, temperature=0.9, stop=("e",))],
    ]
    waiting = [submitted(worker, *some)[1] for some in own]
    worker.start()
    for some, events in zip(own, waiting, strict=True):
        alone = [writing.generate(network, tokenizer, [a.prompt], a.sampling)[0] for a in some]
        assert texts(events) == alone
        assert events.empty()
    assert sizes == [5, 1]


def test_more_rows_than_a_batch_are_cut(worker, network, tokenizer, sizes):
    many = [asked(tokenizer, "a", max_tokens=3, temperature=1.0, seed=i) for i in range(70)]
    _, events = submitted(worker, *many)
    _, other = submitted(worker, many[5])
    worker.start()
    found = texts(events)
    assert found == writing.generate(network, tokenizer, [many[0].prompt] * 70, many[0].sampling)
    assert texts(other) == [found[5]]
    assert sizes == [32, 32, 6, 1]


def test_a_short_text_does_not_wait_for_a_long_one(worker, tokenizer):
    order = []
    for name, count in (("long", 30), ("short", 2)):
        job = Job(
            lambda _, name=name: order.append(name), [asked(tokenizer, "a", max_tokens=count)]
        )
        worker.submit(job)
    worker.start()
    _, events = submitted(worker, asked(tokenizer, "b", max_tokens=1))
    texts(events)
    assert order == ["short", "long"]


def test_a_full_line_and_a_closed_one_refuse(network, tokenizer):
    worker = Worker(network, tokenizer, waiting=2)
    one = asked(tokenizer, "a", max_tokens=2)
    first, second = (submitted(worker, one)[1] for _ in range(2))
    with pytest.raises(BusyError, match=r"requests that wait must be at most 2\. Got one more"):
        submitted(worker, one)
    events = queue.Queue()
    worker.submit(Job(events.put, work=lambda check: 3), is_second=True)
    assert worker.depth() == 3
    worker.start()
    assert events.get(timeout=20) == Done(3)
    assert texts(first) == texts(second)
    worker.close()
    with pytest.raises(BusyError, match="server must be open"):
        submitted(worker, one)


def test_who_leaves_stops_its_own_texts_alone(worker, network, tokenizer):
    long = asked(tokenizer, "a", max_tokens=30, temperature=1.0)
    pieces = queue.Queue()

    def tell(event):
        pieces.put(event)
        leaving.cancelled = True  # at the first news

    leaving = Job(tell, [long], streams=True)
    worker.submit(leaving)
    _, events = submitted(worker, long)
    worker.start()
    expected = writing.generate(network, tokenizer, [long.prompt], long.sampling)
    assert texts(events) == expected
    assert isinstance(pieces.get(), Pieces)
    (row,) = pieces.get().result
    assert row.finish_reason == "gone"
    assert len(row.ids) < 30


def test_who_left_before_is_not_computed(worker, tokenizer, sizes):
    job, events = submitted(worker, asked(tokenizer, "a", max_tokens=9))
    other = Job(events.put, work=lambda check: pytest.fail("was asked"))
    worker.submit(other)
    job.cancelled = other.cancelled = True
    worker.start()
    for _ in range(2):
        assert isinstance(events.get(timeout=20).error, CancelledError)
    assert sizes == []


def test_who_left_takes_no_place_in_the_line(network, tokenizer):
    worker = Worker(network, tokenizer, waiting=2)
    one = asked(tokenizer, "a", max_tokens=2)
    job, events = submitted(worker, one)
    submitted(worker, one)
    job.cancelled = True
    submitted(worker, one)  # the line would be full
    assert isinstance(events.get(timeout=20).error, CancelledError)
    assert worker.depth() == 2


def test_closing_does_not_wait_for_what_cannot_be_stopped(worker, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE", 0.2)
    begun, end = threading.Event(), threading.Event()

    def work(check):
        begun.set()
        end.wait(20)

    worker.submit(Job(lambda event: None, work=work))
    worker.start()
    begun.wait(20)
    start = time.monotonic()
    worker.close()
    assert time.monotonic() - start < 5
    end.set()


def test_an_error_fails_its_own_request_alone(worker, tokenizer):
    events = queue.Queue()

    def fail(check):
        raise ZeroDivisionError

    worker.submit(Job(events.put, work=fail))
    wrong = asked(tokenizer, "a", temperature=-1.0)
    worker.submit(Job(events.put, [wrong]))
    _, good = submitted(worker, asked(tokenizer, "a", max_tokens=3))
    worker.start()
    assert isinstance(events.get(timeout=20).error, ZeroDivisionError)
    assert isinstance(events.get(timeout=20).error, ValueError)
    assert len(texts(good)) == 1


def test_closing_stops_what_runs(worker, tokenizer):
    running, events = threading.Event(), queue.Queue()

    def endless(check):
        running.set()
        while True:
            check()

    worker.submit(Job(events.put, work=endless))
    _, waiting = submitted(worker, asked(tokenizer, "a", max_tokens=3))
    worker.start()
    assert running.wait(20)
    worker.close()
    assert isinstance(events.get().error, CancelledError)
    assert isinstance(waiting.get().error, CancelledError)
