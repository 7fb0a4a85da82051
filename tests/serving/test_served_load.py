"""Many at once, clients that hang up, and a server that is told to stop."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from servers import NAME, serving, tiny_model

from tgp_multimodal import export
from tgp_multimodal.inference import writing
from tgp_multimodal.inference.sampling import Sampling
from tgp_multimodal.inference.writing import BatchGenerator
from tgp_multimodal.serving.worker import Job


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tokenizer)


@pytest.fixture
def slowly(monkeypatch):
    """Each token takes a while; all of them are counted."""
    step, steps = BatchGenerator.step, []

    def slow(writer):
        steps.append(writer)
        time.sleep(0.1)
        return step(writer)

    monkeypatch.setattr(BatchGenerator, "step", slow)
    return steps


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_requests_beyond_the_line_are_told_to_come_back(model):
    with serving(model, waiting=2) as running:
        free = threading.Event()
        worker = running.served.worker
        worker.submit(Job(lambda _: None, work=lambda check: free.wait(20)))
        until(lambda: not worker._line)
        with ThreadPoolExecutor(3) as pool:
            ask = running.client.completions.create
            first = [pool.submit(ask, model=NAME, prompt="a") for _ in range(2)]
            until(lambda: len(worker._line) == 2)
            with pytest.raises(openai.InternalServerError, match="wait must be at most 2") as found:
                ask(model=NAME, prompt="a")
            assert found.value.status_code == 503
            assert int(found.value.response.headers["Retry-After"]) > 0
            free.set()
            assert all(one.result(timeout=20).choices for one in first)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_stops_the_writing(model, slowly, stream):
    with serving(model) as running:
        settings = {"model": NAME, "prompt": "a", "max_tokens": 90, "temperature": 0}
        if stream:
            answer = running.client.completions.create(**settings, stream=True)
            next(answer)
            assert running.served.worker.depth() == 1
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                running.client.completions.create(**settings, timeout=0.5)
        until(lambda: running.served.worker.depth() == 0)
        assert len(slowly) < 80  # of 90 tokens


def test_a_server_that_closes_cuts_long_answers(model, slowly):
    errors = []

    def ask(client):
        try:
            client.completions.create(model=NAME, prompt="a", max_tokens=90, temperature=0)
        except openai.OpenAIError as error:
            errors.append(error)

    with serving(model) as running:
        thread = threading.Thread(target=ask, args=(running.client,))
        thread.start()
        until(lambda: running.served.worker.depth() == 1)
    thread.join(10)
    assert errors
    assert len(slowly) < 80  # of 90 tokens; the grace has some 20


def resident():
    """Megabytes that this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_two_hundred_at_once(model, capsys):
    """No error, the same texts as alone, and memory that does not grow from round to round.

    The kernels of torch keep a plan for each shape that they have seen, so all sizes of a batch are
    seen before memory is looked at.
    """
    prompts = [writing.plain_prompt(model.tokenizer, f"text {i:03}", 90) for i in range(32)]
    for count in range(1, 33):
        sampling = Sampling(6, 1.0, seed=count)
        writing.generate(model.network.text, model.tokenizer, prompts[:count], sampling)
    with serving(model) as running, ThreadPoolExecutor(200) as pool:

        def ask(number):
            kind = number % 4
            if kind == 3:
                found = running.client.embeddings.create(model=NAME, input=f"text {number:03}")
                return found.data[0].embedding[0]
            settings = {"prompt": f"text {number:03}", "seed": number, "max_tokens": 6}
            if kind == 2:
                chunks = running.client.completions.create(model=NAME, **settings, stream=True)
                return "".join(chunk.choices[0].text for chunk in chunks)
            return running.client.completions.create(model=NAME, **settings).choices[0].text

        held, seconds, rounds = [], [], []
        for _ in range(6):
            start = time.monotonic()
            rounds.append(list(pool.map(ask, range(200))))
            seconds.append(time.monotonic() - start)
            held.append(resident())
        expected = [model.write(f"text {i:03}", 6, 1.0, 1.0, seed=i) for i in (0, 1, 2, 198)]
    assert all(one == rounds[0] for one in rounds[1:]) or _nearly(rounds)
    assert [rounds[0][i] for i in (0, 1, 2, 198)] == expected
    assert held[-1] - held[1] < 20, held
    with capsys.disabled():
        rate = 200 / sorted(seconds)[3]
        print(f"\n200 at once: {rate:.0f} requests/s; MB after each round: {[*map(int, held)]}")


def _nearly(rounds):
    """Vectors may differ by rounding; texts may not."""
    pairs = [p for one in rounds[1:] for p in zip(one, rounds[0], strict=True)]
    return all(a == b if isinstance(a, str) else abs(a - b) < 1e-5 for a, b in pairs)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "tiny" / "export"
    export.save(place, model.network, model.tokenizer, {}, "")
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_during_a_request_ends_the_process(folder, number, code, said):
    """Nothing is left: no process, and the port is free again."""
    command = [sys.executable, "-m", "tgp_multimodal", "serve", str(folder), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        try:
            found = re.match(r"serving tiny at (http://127\.0\.0\.1:(\d+)/v1) ", _line(process))
            address, stop = found[1], threading.Event()
            with ThreadPoolExecutor(4) as pool, _set_at_the_end(stop):
                asked = [pool.submit(_ask_on, address, stop) for _ in range(4)]
                until(lambda: _depth(address) > 0)
                process.send_signal(number)
                start = time.monotonic()
                _, err = process.communicate(timeout=20)
            assert all(isinstance(one.result(), openai.OpenAIError) for one in asked)
            assert time.monotonic() - start < 15
            assert process.returncode == code
            assert said in err
            assert "Traceback" not in err
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
        finally:
            process.kill()


def _line(process):
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line


@contextmanager
def _set_at_the_end(event):
    try:
        yield
    finally:
        event.set()


def _ask_on(address, stop):
    """What happened when the server went away."""
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        while not stop.is_set():
            try:
                client.completions.create(model=NAME, prompt="a", max_tokens=90)
            except openai.OpenAIError as error:
                return error
    return None


def _depth(address):
    with urllib.request.urlopen(address.removesuffix("v1") + "health") as answer:
        return json.load(answer)["requests"]
