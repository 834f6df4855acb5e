"""Expert pools without Ray: who shares one, whether they fit, how many workers, and what passes between processes."""

import os
import sys
import threading

import pytest

from annotators.halt import Halt
from annotators.protocols import Enricher, Grounder, Payer, Rewriter, Segmenter, TextSegmenter
from pipeline.config import ExpertUse, Resources
from pipeline.line import seats_of
from pipeline.manifest import PanelEntry
from pipeline.panel import Fault, ask
from pipeline.panel_pools import (
    GIB,
    Pool,
    Pooled,
    Raised,
    Replica,
    check_fit,
    pool_key,
    pools_of,
    spread_workers,
)
from tests.e2e.lines import job, recipe


def pool(name: str = "sam", **resources: float) -> Pool:
    entry = PanelEntry(
        stage="segment", position=0, expert=name, roles=["segmenter"], model="org/sam", revision="a" * 40,
        prompt_version="", licence="", config_hash="",
    )  # fmt: skip
    use = ExpertUse(use=name, resources=Resources.model_validate(resources))
    return Pool(use=use, entry=entry, name=name, methods=("segment",), reads_image=None)


def test_equal_uses_share_a_pool_and_others_do_not(tmp_path):
    raw = recipe(tmp_path / "none.jsonl")
    raw["stages"]["segment"]["experts"] = [
        {"use": "fake_segmenter", "resources": {"replicas": 2}},
        {"use": "fake_segmenter", "resources": {"replicas": 2}},
        {"use": "fake_segmenter", "resources": {"replicas": 3}},
        {"use": "fake_segmenter", "options": {"seed": 1}, "resources": {"replicas": 2}},
        {"use": "fake_segmenter"},
    ]
    pools = pools_of(seats_of(job(raw, tmp_path)))
    assert [p.entry.position for p in pools.values()] == [0, 2, 3]


@pytest.mark.parametrize("methods", [("segment",), ("ground", "segment_text"), ("rewrite",)])
def test_a_stand_in_has_the_roles_of_its_expert_and_no_other(methods):
    asked = []

    def send(method, columns, rest):
        asked.append((method, columns, rest))
        return [[], Raised(kind="KeyError", text="'box'")]

    facts = pool()
    stand_in = Pooled(
        Pool(
            use=facts.use, entry=facts.entry, name="sam", methods=methods,
            reads_image=False if methods == ("rewrite",) else None,
        ),
        send,
    )  # fmt: skip
    roles = {
        Segmenter: "segment", Grounder: "ground", TextSegmenter: "segment_text",
        Rewriter: "rewrite", Enricher: "enrich",
    }  # fmt: skip
    for role, method in roles.items():
        assert isinstance(stand_in, role) == (method in methods)
    assert not isinstance(stand_in, Payer)
    assert stand_in.identity.revision == "a" * 40
    answers = ask("sam", getattr(stand_in, methods[0]), ["one", "two"])
    assert answers[0] == []
    assert isinstance(answers[1], Fault)
    assert answers[1].line == "sam: KeyError: 'box'"
    assert asked == [(methods[0], (["one", "two"],), {})]


class Unpicklable(Exception):
    """As of a client library: it holds its connection."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def test_what_is_raised_travels_as_words():
    import pickle

    error = Unpicklable("429: slow down")
    with pytest.raises(TypeError):
        pickle.dumps(error)
    again = pickle.loads(pickle.dumps(Raised.of(error))).again()
    assert (type(again).__name__, str(again)) == ("Unpicklable", "429: slow down")
    assert not isinstance(again, Halt)
    halt = Raised.of(Halt("the budget is spent")).again()
    assert isinstance(halt, Halt)
    assert str(halt) == "the budget is spent"


def test_a_replica_answers_as_the_expert_does_and_packs_what_it_raises(tmp_path):
    raw = recipe(tmp_path / "none.jsonl", raise_on="cursed")
    raw["stages"]["segment"]["experts"][2]["resources"] = {}
    work = job(raw, tmp_path)
    (facts,) = pools_of(seats_of(work)).values()
    replica = Replica(work, facts)
    replica.ready()
    import numpy as np

    from annotators.phrase import Phrase

    image = np.zeros((8, 8, 3), np.uint8)
    good, bad = (Phrase(text=t, role="simplified", made_by="x") for t in ("ball", "cursed ball"))
    ((candidate,),) = replica.answer("segment_text", (([image], [[good]]), {}))
    assert candidate.made_by.expert == "fake_faulty"
    raised = replica.answer("segment_text", (([image], [[bad]]), {}))
    assert raised == Raised(kind="RuntimeError", text="asked to raise on 'cursed'")


def test_a_replica_that_sees_another_panel_halts_rather_than_votes(tmp_path):
    from dataclasses import replace

    raw = recipe(tmp_path / "none.jsonl")
    raw["stages"]["segment"]["experts"][2]["resources"] = {}
    work = job(raw, tmp_path)
    seats = seats_of(work)
    (facts,) = pools_of(seats).values()
    panel = [seat.entry() for seat in seats]
    panel[-1] = panel[-1].model_copy(update={"revision": "b" * 40})
    raised = Replica(replace(work, panel=tuple(panel)), facts).answer("segment_text", (([],), {}))
    assert raised.halt
    assert "another panel than the build" in raised.text


@pytest.mark.parametrize(("cpus", "threads"), [(0, 1), (0.5, 1), (1, 1), (3, 3)])
def test_a_replica_gives_torch_a_thread_for_each_cpu_it_asked_for(cpus, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    Replica(None, pool(cpus=cpus))
    assert os.environ["OMP_NUM_THREADS"] == str(threads)


NODE = {"CPU": 8.0, "GPU": 1.0, "memory": 16.0 * GIB}


def test_pools_that_fit_are_let_through():
    check_fit([pool(replicas=4, gpus=0.25, cpus=1, memory_gib=4)], NODE, [NODE])
    check_fit([pool(replicas=7)], NODE, [NODE])
    check_fit([], {"CPU": 1.0}, [{"CPU": 1.0}])


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"replicas": 8}, r"sam 8 x \(1 CPU\) and one worker \(1 CPU\) ask for 9 CPU, and it has 8 CPU"),
        ({"replicas": 5, "gpus": 0.25, "cpus": 0}, "1.25 GPU, and it has 8 CPU, 1 GPU"),
        ({"memory_gib": 20}, "20 GiB memory, and it has 8 CPU, 1 GPU, 16 GiB memory"),
    ],
)  # fmt: skip
def test_pools_that_do_not_fit_are_refused_with_what_to_change(resources, says):
    with pytest.raises(ValueError, match=says) as refused:
        check_fit([pool(**resources)], NODE, [NODE])
    assert "Lower replicas" in str(refused.value)


def test_a_replica_that_fits_the_sum_and_no_machine_is_refused():
    total = {"CPU": 16.0, "GPU": 2.0}
    with pytest.raises(ValueError, match="no single machine of it holds a replica of sam"):
        check_fit([pool(gpus=2)], total, [{"CPU": 8.0, "GPU": 1.0}] * 2)


def test_workers_fill_the_cpus_that_pools_leave_and_keep_replicas_busy():
    assert spread_workers(None, [], 8, units=100) == (8, 1.0)
    assert spread_workers(None, [], 8, units=3) == (3, 1.0)
    assert spread_workers(4, [], 2, units=100) == (4, 1.0)
    assert spread_workers(None, [pool(replicas=2)], 8, units=100) == (6, 1.0)
    count, share = spread_workers(None, [pool(replicas=3)], 4, units=100)
    assert count == 4, "more units in flight than replicas, so that none of them waits for work"
    assert count * share <= 1.0
    assert spread_workers(None, [pool(replicas=3)], 4, units=1) == (1, 1.0)
    count, share = spread_workers(64, [pool(gpus=1, cpus=0)], 16, units=1000)
    assert (count, share) == (64, 0.25)


def test_the_key_of_a_pool_is_its_use_options_and_resources():
    one = ExpertUse(use="sam", options={"a": 1, "b": 2}, resources=Resources(replicas=2))
    same = ExpertUse(use="sam", options={"b": 2, "a": 1}, resources=Resources(replicas=2))
    assert pool_key(one) == pool_key(same)
    assert pool_key(one) != pool_key(one.model_copy(update={"resources": Resources()}))
