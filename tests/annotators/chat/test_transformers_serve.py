"""A real server of another make: `transformers serve` with a tiny random model that answers every question with noise.

What it shows: our requests are understood by a server that we did not write, its replies are replies, and a model that
cannot do the task costs votes and nothing else.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from annotators.chat.call import NoAnswer
from annotators.chat.conversation import question
from annotators.chat.endpoint import Endpoint
from annotators.chat.in_process import InProcess
from annotators.chat.json_reader import UnreadableReply
from annotators.chat.prompts import SIMPLIFY
from annotators.ledger import Ledger, Limits
from annotators.registry import make_expert
from tests.annotators.chat.serving import name_server
from tests.annotators.chat.tiny_chat_model import save_chat_model

pytestmark = pytest.mark.slow
START, STOP = 180.0, 20.0
"""Seconds that the server may take to come up and to go."""
ROWS = [["the red mug"], ["Pour me some tea from the white pot."], ["カップ"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    """The base URL of a server that holds the model; the server is gone afterwards."""
    home = tmp_path_factory.mktemp("hub")
    (home / "hub").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    log = (home / "log").open("wb")
    server = subprocess.Popen(
        [*command, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, home / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        log.close()
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(STOP)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(url, server, log):
    until = time.monotonic() + START
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
    pytest.fail(f"transformers serve did not come up in {START} s:\n{log.read_text()[-2000:]}")


def test_noise_from_a_real_server_is_a_typed_exception_in_every_row(
    address, folder, monkeypatch, tmp_path
):
    name_server(monkeypatch, tmp_path, address, str(folder))
    chat = make_expert("chat", {"max_tokens": 24, "patience": 120.0, "concurrency": 2})
    ledger = Ledger(tmp_path / "ledger.jsonl", Limits())
    chat.bill(ledger)
    answers = chat.rewrite(ROWS, [])
    assert len(answers) == len(ROWS)
    assert {type(row) for row in answers} <= {UnreadableReply, NoAnswer}  # noise, or cut noise
    spent = ledger.totals()["chat"]
    assert spent.calls >= len(ROWS)
    assert spent.prompt_tokens > spent.calls * len(SIMPLIFY.system)  # a token is a byte here
    again = chat.rewrite(ROWS, [])
    assert [type(row) for row in again] == [type(row) for row in answers]


def test_the_server_says_what_the_model_says_in_this_process(
    address, folder, monkeypatch, tmp_path
):
    name_server(monkeypatch, tmp_path, address, str(folder))
    texts = ["the red mug", "a cup", "tea", "all chairs", "カップ"]
    questions = [question(SIMPLIFY, {"instructions": [text]}, [], 64) for text in texts]
    served = Endpoint("chat", patience=120.0, concurrency=1).ask(questions)
    whole = [row for row, reply in enumerate(served) if isinstance(reply, str)]
    assert whole
    here = InProcess("local", model=str(folder)).ask(questions)
    assert [here[row] for row in whole] == [served[row] for row in whole]
