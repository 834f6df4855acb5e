"""Builds that pay for answers: a server that dies and returns, a budget that ends, gold that is enriched."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from annotators.chat import backoff, breaker
from annotators.halt import Halt
from annotators.ledger import Ledger, Limits
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.executors.ray import run_on_ray
from pipeline.line import SPENDING
from pipeline.reader import iterate_samples
from pipeline.validate import verify
from tests.annotators.chat.scripted_server import MODEL, read_log
from tests.annotators.chat.scripts import good, late
from tests.annotators.chat.serving import name_server, served
from tests.e2e.lines import draw_items, job, tree

ITEMS = 24


def chatty(items: Path, **budget: int) -> dict[str, Any]:
    """A recipe that asks the endpoint twice a sample: for phrases and for a verdict."""
    return {
        "name": "chatty",
        "unit_size": 4,
        "source": {"kind": "jsonl", "path": str(items)},
        "budget": budget,
        "stages": {
            "rewrite": {"experts": [{"use": "chat"}]},
            "segment": {"experts": [{"use": "fake_text_segmenter"}]},
            "fuse": {},
            "score": {"verifiers": [{"use": "vlm_verifier", "options": {"image_side": 64}}]},
            "keep": {"empty": "keep"},
        },
    }


@pytest.fixture
def items(tmp_path: Path) -> Path:
    texts = {number: f"hand me thing number {number}" for number in range(ITEMS)}
    return draw_items(tmp_path / "items", ITEMS, texts)


class OwnProcess:
    """A scripted server in a process of its own, on one port, to be killed and started again."""

    def __init__(self, log: Path) -> None:
        self.log, self.port = log, 0
        self.start()

    def start(self) -> None:
        words = ["--port", str(self.port), "--delay", "0.05", "--log", str(self.log)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.annotators.chat.scripted_server", "--script", "good", *words],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.base_url = self.process.stdout.readline().strip()
        self.port = int(self.base_url.rsplit(":", 1)[1].partition("/")[0])

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_costs_time_and_no_answer_twice(
    items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "BASE", 0.05)
    monkeypatch.setattr(breaker, "COOL_DOWN", 0.05)
    server = OwnProcess(tmp_path / "seen.jsonl")
    try:
        name_server(monkeypatch, tmp_path / "home", server.base_url, MODEL)
        done = threading.Thread(
            target=build, args=(job(chatty(items), tmp_path / "out"), run_local), daemon=True
        )
        done.start()
        until = time.monotonic() + 60
        while len(_answered(server.log)) < 10 and time.monotonic() < until:
            time.sleep(0.01)
        server.kill()
        killed_at = len(_answered(server.log))
        time.sleep(1.0)
        server.start()
        done.join(timeout=120)
        assert not done.is_alive()
        calls = Counter(_answered(server.log))
        build(job(chatty(items), tmp_path / "again"), run_local)
        assert Counter(_answered(server.log)) == calls, "a second build asked what was in the cache"
    finally:
        server.kill()
    assert 10 <= killed_at < len(calls)
    assert set(calls.values()) == {1}
    assert not verify(tmp_path / "out").problems
    assert tree(tmp_path / "out") == tree(tmp_path / "again")
    assert len(list(iterate_samples(tmp_path / "out"))) == ITEMS


def _answered(log: Path) -> list[str]:
    if not log.exists():
        return []
    return [question for event, question in read_log(log) if event == "answered"]


@pytest.mark.ray
def test_a_budget_stops_a_build_on_ray_at_the_call_and_raising_it_goes_on(
    items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    with served(monkeypatch, tmp_path / "home", late(0.05, then=good)) as server:
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
        try:
            on_ray = partial(run_on_ray, workers=4)
            with pytest.raises(Halt, match=r"budget of 17 calls is spent.*--set budget\.calls=N"):
                build(job(chatty(items, calls=17), tmp_path / "out"), on_ray)
            assert len(server.seen) == 17
            with pytest.raises(Halt, match="calls"):
                build(job(chatty(items, calls=17), tmp_path / "out"), on_ray)
            assert len(server.seen) == 17
            build(job(chatty(items, calls=2 * ITEMS), tmp_path / "out"), on_ray)
        finally:
            ray.shutdown()
        assert Counter(seen.question for seen in server.seen).most_common(1)[0][1] == 1
        build(job(chatty(items), tmp_path / "local"), run_local)
        assert len(server.seen) <= 2 * ITEMS
    assert tree(tmp_path / "out") == tree(tmp_path / "local")
    spent = Ledger(tmp_path / "out" / SPENDING, Limits()).totals()
    assert sum(each.calls for each in spent.values()) == len(server.seen)
    assert set(spent) == {"chat", "vlm_verifier"}


@pytest.mark.shared
@pytest.mark.slow
def test_real_gold_is_enriched_and_stays_what_it_was(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """423 human masks of photographs go through the server and back out of the dataset."""
    source = {"kind": "coco", "path": str(shared_data / "coco-instruct")}
    plain = {"name": "plain", "source": source, "stages": {"adopt": {}, "fuse": {"rule": "best"}}}
    raw = plain | {"stages": {"enrich": {"experts": [{"use": "chat"}]}, **plain["stages"]}}
    with served(monkeypatch, tmp_path / "home") as server:
        manifest = build(job(raw, tmp_path / "out"), run_local)
        assert len(server.answered()) == manifest.totals.inputs == 423
    build(job(plain, tmp_path / "plain"), run_local)
    assert not verify(tmp_path / "out").problems
    pairs = list(
        zip(iterate_samples(tmp_path / "out"), iterate_samples(tmp_path / "plain"), strict=True)
    )
    assert len(pairs) == 423
    for enriched, before in pairs:
        assert enriched.gold == before.gold
        assert enriched.gold is not None
        assert ((enriched.label.mask == 255) == enriched.gold.array()).all()
        assert (enriched.id, enriched.image, enriched.instructions) == (
            before.id, before.image, before.instructions,
        )  # fmt: skip
        made = [phrase for phrase in enriched.phrases if phrase.role == "enriched"]
        assert made
        assert {(p.made_by, p.model) for p in made} == {("chat", MODEL)}
        assert all(p.prompt_version for p in made)
        assert set(enriched.wordings) > set(enriched.instructions)
    asked = [json.dumps(seen.body["messages"]) for seen in server.seen]
    assert len(set(asked)) == 423
