"""Every expert with weights and every chat expert in one panel, on Ray, over photographs: nothing lost, all told."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from pipeline.build import build
from pipeline.card import write_card
from pipeline.executors.ray import run_on_ray
from pipeline.manifest import read_manifest, read_receipts
from pipeline.panel_usage import read_usage
from pipeline.reader import iterate_samples
from pipeline.report.page import write_report
from pipeline.validate import verify
from tests.annotators.chat.serving import served
from tests.e2e.every_expert import panel, save_models
from tests.e2e.lines import job

LIMIT = 8
POOLED = ("owlv2", "sam_pth")
"""Models with an actor pool of their own; each costs the start of a process."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.shared
def test_every_expert_in_one_panel_is_asked_recorded_and_paid_for(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    models = save_models(tmp_path / "models")
    source = {"kind": "coco", "path": str(shared_data / "coco-instruct"), "gold_fraction": 0}
    raw = {"name": "every", "unit_size": 4, "limit": LIMIT, "source": source}
    whole = job(raw | {"stages": panel(models, pooled=POOLED)}, tmp_path / "out")
    with served(monkeypatch, tmp_path / "home") as server:
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
        try:
            manifest = build(whole, partial(run_on_ray, workers=2))
        finally:
            ray.shutdown()
        calls = Counter(seen.question for seen in server.seen)

    totals = manifest.totals
    assert totals.inputs == LIMIT == totals.committed + totals.quarantined
    assert not totals.quarantined
    assert not verify(whole.root).problems
    assert set(calls.values()) == {1}

    seats = read_manifest(whole.root).panel
    told = {(seat.expert, seat.config_hash): seat for seat in seats}
    assert len(told) == len(seats) == 21
    with_weights = [seat for seat in seats if seat.model.startswith(str(tmp_path))]
    assert len(with_weights) == 14
    assert all(seat.revision.startswith("sha256:") and seat.licence for seat in with_weights)

    units = {receipt.unit for receipt in read_receipts(whole.root)}
    asked = read_usage(whole.root, units)
    masks: Counter[str] = Counter()
    for sample in iterate_samples(whole.root):
        for item in (*(sample.proposals or ()), *(sample.candidates or ())):
            seat = told[item.made_by.expert, item.made_by.config_hash]
            assert (item.made_by.model, item.made_by.revision, item.made_by.prompt_version) == (
                seat.model, seat.revision, seat.prompt_version,
            )  # fmt: skip
        for candidate in sample.candidates or ():
            assert (candidate.proposal is None) == (candidate.boxed_by == "")
            masks[candidate.made_by.expert] += 1
    for name in ("sam", "sam_hf", "sam3", "clipseg", "clip_regions"):
        assert masks[name], f"{name} made no mask: {asked}"

    write_card(whole.root)
    page = write_report(whole.root, None).read_text()
    for seat in seats:
        assert seat.expert in page
    assert f"{len(server.seen)} calls" in page or f">{len(server.seen)}<" in page
