"""The panel as a thing of a build: who sat where is written down, held to, and refused when it is another."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from annotators.identity import Identity
from annotators.registry import make_expert
from pipeline.build import build, plan
from pipeline.config import ExpertUse, recipe_hash
from pipeline.executors.local import run_local
from pipeline.line import make_line, resolve
from pipeline.manifest import PanelEntry, read_manifest
from pipeline.panel_seats import differences, pinned, resumable, weights_versions
from pipeline.validate import verify
from pipeline.work import versions
from tests.e2e.lines import draw_items, job, recipe


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return draw_items(tmp_path / "items", 6)


def entry(**changes: object) -> PanelEntry:
    """A grounder with weights of a hub."""
    fields = {
        "stage": "ground", "position": 0, "expert": "dino", "roles": ["grounder"], "model": "org/dino",
        "revision": "a" * 40, "prompt_version": "", "licence": "apache-2.0", "config_hash": "c0ffee",
    }  # fmt: skip
    return PanelEntry.model_validate({**fields, **changes})


def test_every_expert_of_the_recipe_is_in_plan_and_manifest(items, tmp_path):
    out = tmp_path / "out"
    raw = recipe(items)
    raw["stages"]["segment"]["experts"].append({"use": "fake_segmenter", "options": {"seed": 7}})
    build(job(raw, out), run_local)
    panel = read_manifest(out).panel
    assert [(e.stage, e.position, e.expert, e.roles) for e in panel] == [
        ("rewrite", 0, "fake_rewriter", ["rewriter"]),
        ("ground", 0, "fake_grounder", ["grounder"]),
        ("segment", 0, "fake_segmenter", ["segmenter"]),
        ("segment", 1, "fake_text_segmenter", ["text segmenter"]),
        ("segment", 2, "fake_faulty", ["text segmenter"]),
        ("segment", 3, "fake_segmenter", ["segmenter"]),
    ]
    assert panel[2].config_hash != panel[5].config_hash
    said = json.loads((out / "plan.json").read_bytes())["panel"]
    assert said == [e.model_dump() for e in panel] == plan(job(raw, out))["panel"]
    assert verify(out).ok


def test_a_hash_in_the_panel_is_the_one_in_provenance(items, tmp_path):
    from pipeline.reader import iterate_samples

    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    seated = {(e.expert, e.config_hash) for e in read_manifest(out).panel}
    made = {
        (c.made_by.expert, c.made_by.config_hash)
        for s in iterate_samples(out)
        for c in s.candidates or ()
    }
    assert len(made) == 3
    assert made <= seated


def test_an_edited_panel_is_noticed(items, tmp_path):
    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    path = out / "manifest.json"
    facts = json.loads(path.read_text())
    facts["panel"].pop()
    path.write_text(json.dumps(facts))
    problems = [str(problem) for problem in verify(out).problems]
    assert any("its panel is not that of its recipe" in said for said in problems)
    assert any("another panel than the manifest" in said for said in problems)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "other"}, "model 'other' there, '' now"),
        ({"revision": "sha256:0123"}, "revision 'sha256:0123' there, '' now"),
        ({"prompt_version": "simplify-1"}, "prompt version 'simplify-1' there"),
    ],
)
def test_a_build_goes_on_only_with_the_panel_it_was_begun_with(items, tmp_path, change, says):
    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    (out / "receipts" / "train-000000.json").unlink()
    path = out / "plan.json"
    facts = json.loads(path.read_text())
    facts["panel"][1] |= change
    path.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"expert 'fake_grounder' of stage 'ground'") as refused:
        build(job(recipe(items), out), run_local)
    assert says in str(refused.value)
    assert "put that back, or build into a new folder" in str(refused.value)
    assert not (out / "receipts" / "train-000000.json").exists()


def test_a_worker_that_sees_another_model_is_refused(items, tmp_path):
    first = job(recipe(items), tmp_path / "out")
    panel = [seat.entry() for seat in make_line(first).seats]
    make_line(replace(first, panel=tuple(panel)))
    panel[1] = panel[1].model_copy(update={"model": "gpt-x"})
    with pytest.raises(ValueError, match=r"another panel than the build.*model 'gpt-x' there"):
        make_line(replace(first, panel=tuple(panel)))


class WithWeights:
    """A grounder that says which commit of its weights it was given."""

    name = "dino"

    def __init__(self, revision):
        self.identity = Identity(expert="dino", model="org/dino", revision=revision or "b" * 40)

    def ground(self, images, phrases):
        return [[] for _ in images]


def test_workers_are_handed_the_commit_that_the_driver_found(items, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.panel_seats.takes", lambda name, option: name == "fake_grounder")
    first = job(recipe(items), tmp_path / "out")

    def factory(use):
        if use.use != "fake_grounder":
            return make_expert(use.use, use.options)
        return WithWeights(use.options.get("revision"))

    panel = [seat.entry() for seat in make_line(first, factory).seats]
    assert panel[1].revision == "b" * 40
    earlier = panel[1].model_copy(update={"revision": "a" * 40})
    begun_with = [panel[0], earlier, *panel[2:]]
    line = make_line(replace(first, panel=tuple(begun_with)), factory)
    assert line.seats[1].entry().revision == "a" * 40
    assert line.hash == recipe_hash(first.recipe)
    assert not differences(begun_with, resumable(begun_with, line.seats, panel))


def test_files_that_changed_have_no_commit_to_go_back_to(items, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.panel_seats.takes", lambda name, option: True)
    seats = make_line(job(recipe(items), tmp_path / "out")).seats[1:2]
    was, now = entry(revision="sha256:1111"), entry(revision="sha256:2222")
    (said,) = differences([was], resumable([was], seats, [now]))
    assert said == (
        "expert 'dino' of stage 'ground' has revision 'sha256:1111' there, 'sha256:2222' now"
    )


def test_a_licence_may_be_written_down_later_and_a_seat_may_not_vanish():
    assert not differences([entry()], [entry(licence="mit")])
    assert differences([entry()], []) == ["expert 'dino' of stage 'ground' is gone"]
    assert differences([], [entry()]) == ["expert 'dino' of stage 'ground' was not there"]


def test_an_expert_without_a_revision_option_is_left_as_it_is():
    use = ExpertUse(use="fake_grounder")
    assert pinned(use, entry()) is use
    assert pinned(use, None) is use


def test_resources_and_budget_are_no_part_of_the_hash(items):
    plain, placed = recipe(items), recipe(items)
    placed["stages"]["segment"]["experts"][1]["resources"] = {"replicas": 3, "gpus": 0.25}
    placed["budget"] = {"calls": 5}
    assert recipe_hash(resolve(placed)) == recipe_hash(resolve(plain))
    assert resolve(placed).stages.segment.experts[1].resources.replicas == 3
    assert resolve(placed).budget.calls == 5


def test_packages_that_run_weights_are_named_only_where_weights_run():
    without = entry(revision="", model="gpt-x", licence="")
    assert weights_versions([without]) == {}
    assert versions([without]) == versions([])
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    named = weights_versions([without, entry()])
    assert {"torch"} <= set(named) <= {"torch", "transformers", "segment-anything"}


def test_a_plan_names_the_expert_that_is_not_ready(items, tmp_path):
    class Unready:
        name = "unready"

        @property
        def identity(self):
            raise ValueError("weights org/x are not on this machine; run `hf download org/x`")

        def ground(self, images, phrases):
            return [[] for _ in images]

    from pipeline import build as module

    seat = make_line(
        job(recipe(items), tmp_path / "out"),
        lambda use: Unready() if use.use == "fake_grounder" else make_expert(use.use, use.options),
    ).seats[1]
    assert module._entry_or_problem(seat) == {
        "stage": "ground", "position": 0, "expert": "unready",
        "problem": "weights org/x are not on this machine; run `hf download org/x`",
    }  # fmt: skip


def begun(raw, root):
    """A build that was claimed and killed before its first unit."""
    with pytest.raises(ValueError, match="have no receipt"):
        build(job(raw, root), lambda work, units: iter(()))


def test_another_model_behind_the_endpoint_is_refused_on_resume(items, tmp_path, monkeypatch):
    for name, value in (("BASE_URL", "http://127.0.0.1:9/v1"), ("API_KEY", "none"), ("MODEL", "a")):
        monkeypatch.setenv(f"MASKMIX_CHAT_{name}", value)
    raw = recipe(items)
    raw["stages"]["rewrite"]["experts"] = [{"use": "chat"}]
    begun(raw, tmp_path / "out")
    begun(raw, tmp_path / "out")
    monkeypatch.setenv("MASKMIX_CHAT_MODEL", "b")
    with pytest.raises(
        ValueError, match=r"expert 'chat' of stage 'rewrite' has model 'a' there, 'b' now"
    ):
        build(job(raw, tmp_path / "out"), run_local)


def test_weights_whose_files_changed_are_refused_on_resume(items, tmp_path):
    model = tmp_path / "clipseg"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "clipseg"}')
    raw = recipe(items)
    raw["stages"]["segment"]["experts"] = [
        {"use": "clipseg", "options": {"model": str(model), "device": "cpu"}}
    ]
    begun(raw, tmp_path / "out")
    begun(raw, tmp_path / "out")
    (model / "config.json").write_text('{"model_type": "clipseg", "projection_dim": 8}')
    with pytest.raises(
        ValueError, match=r"'clipseg' of stage 'segment' has revision 'sha256:"
    ) as no:
        build(job(raw, tmp_path / "out"), run_local)
    assert "put that back, or build into a new folder" in str(no.value)


def test_a_plan_on_the_command_line_shows_the_panel(items, tmp_path):
    from typer.testing import CliRunner

    from maskmix import app

    raw = recipe(items)
    raw["stages"]["segment"]["experts"].append({"use": "fake_payer"})
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(raw))
    shown = CliRunner().invoke(app, ["plan", "--recipe", str(path), "--out", str(tmp_path / "out")])
    assert "# ground: fake_grounder\n" in shown.output
    assert "# segment: fake_payer, halves\n" in shown.output
    assert not (tmp_path / "out").exists()
