"""Recipes: every typo named, overrides at every depth, one hash for one meaning."""

import copy
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Recipe, load_recipe, recipe_hash, validate

RAW = {
    "name": "tiny",
    "source": {"kind": "folder", "path": "photos"},
    "stages": {
        "rewrite": {"experts": [{"use": "rules", "options": {"deep": {"er": 1}}}]},
        "ground": {"experts": [{"use": "a"}, {"use": "b"}]},
        "fuse": {"rule": "vote", "threshold": 0.4},
        "keep": {"min_quality": 0.3},
    },
}
TEXT = """
name: tiny
seed: 3
source: {kind: folder, path: photos}
stages:
  ground: {experts: [{use: a}, {use: b}]}
  keep: {min_quality: 0.3}
"""


def changed(path, value, remove=False):
    raw = copy.deepcopy(RAW)
    *parents, last = path
    node = raw
    for key in parents:
        node = node[key]
    if remove:
        del node[last]
    else:
        node[last] = value
    return raw


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("sed",), r"unknown key 'sed'; did you mean 'seed'\?"),
        (
            ("stages", "fus"),
            r"'stages.fus'; did you mean 'fuse'\? Known here: adopt, boxes, choose, enrich, fuse",
        ),
        (("stages", "keep", "min_qualty"), r"'stages.keep.min_qualty'; did you mean 'min_quality'"),
        (
            ("stages", "fuse", "treshold"),
            r"did you mean 'threshold'\? Known here: learnt, rule, saturate, threshold",
        ),
        (("stages", "rewrite", "keepraw"), "did you mean 'keep_raw'"),
        (
            ("stages", "ground", "experts", 1, "optoins"),
            r"'stages.ground.experts.1.optoins'; did you mean 'options'\? Known here: options, resources, use",
        ),
        (("zzzzzz",), r"unknown key 'zzzzzz'\. Known here: budget, image_format"),
    ],
)
def test_an_unknown_key_is_named_at_every_depth_with_the_nearest_known_one(path, says):
    with pytest.raises(ValueError, match=f"^recipe: .*{says}"):
        validate(Recipe, changed(path, 1), "recipe")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("name",), "Tiny Recipe", "name: string should match"),
        (("name",), 7, "valid string"),
        (("limit",), 0, r"limit: .*greater than or equal to 1 \(got 0\)"),
        (("unit_size",), 10**6, "unit_size"),
        (("unit_size",), "many", r"\(got 'many'\)"),
        (("image_format",), "webp", "image_format: .*'jpg' or 'png'"),
        (("stages", "keep", "min_quality"), math.nan, "min_quality"),
        (("stages", "keep", "min_quality"), math.inf, "min_quality"),
        (("stages", "keep", "empty"), True, "'keep' or 'reject'"),
        (("stages", "fuse"), "vote", "stages.fuse"),
        (("stages", "ground", "experts"), {"use": "a"}, "valid list"),
        (("split",), "../train", "split"),
        (("source",), "folder", "valid dictionary"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_got(path, value, says):
    with pytest.raises(ValueError, match=says):
        validate(Recipe, changed(path, value), "recipe")


@pytest.mark.parametrize(
    "path", [("name",), ("source",), ("stages", "ground", "experts", 0, "use")]
)
def test_a_missing_key_is_named(path):
    with pytest.raises(ValueError, match=r"\.".join(map(str, path)) + ": field required"):
        validate(Recipe, changed(path, None, remove=True), "recipe")


def test_an_endless_wrong_value_makes_a_short_message():
    with pytest.raises(ValueError, match="seed") as caught:
        validate(Recipe, changed(("seed",), "x" * 100_000), "recipe")
    assert len(str(caught.value)) < 300


def test_all_mistakes_are_told_at_once():
    raw = changed(("sed",), 1)
    raw["limit"] = 0
    with pytest.raises(ValueError, match=r"limit.*; .*'sed'|'sed'.*; limit"):
        validate(Recipe, raw, "recipe")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda r: r["seed"] == 7),
        ("stages.keep.min_quality=0.5", lambda r: r["stages"]["keep"]["min_quality"] == 0.5),
        ("stages.fuse.rule=vote", lambda r: r["stages"]["fuse"] == {"rule": "vote"}),
        ("stages.ground.experts.1.use=c", lambda r: r["stages"]["ground"]["experts"][1] == {"use": "c"}),
        ("stages.ground.experts.0={use: z}", lambda r: r["stages"]["ground"]["experts"][0] == {"use": "z"}),
        ("stages.ground=", lambda r: r["stages"]["ground"] is None),
        ("source.path=/a=b/c.d", lambda r: r["source"]["path"] == "/a=b/c.d"),
        ("source.path='12'", lambda r: r["source"]["path"] == "12"),
        ("source.classes=[1, 2]", lambda r: r["source"]["classes"] == [1, 2]),
    ],
)  # fmt: skip
def test_an_override_reaches_its_place(recipe_file, override, read):
    assert read(load_recipe(recipe_file, [override]))


def test_later_overrides_win(recipe_file):
    assert load_recipe(recipe_file, ["seed=1", "seed=2"])["seed"] == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "expected KEY.KEY=VALUE"),
        ("=3", "expected KEY.KEY=VALUE"),
        ("stages..keep=1", "empty key"),
        ("stages.=1", "empty key"),
        ("seed.x=1", "'seed' holds 3, which has no keys"),
        ("stages.ground.experts.2.use=c", "'2' is no place in a list of 2; the first is 0"),
        ("stages.ground.experts.2=c", "no place in a list"),
        ("stages.ground.experts.-1.use=c", "no place in a list"),
        ("stages.ground.experts.first.use=c", "no place in a list"),
        ("stages.ground.experts.²=c", "no place in a list"),
        ("seed=[1", "not readable YAML"),
        ("seed={a: 1, a: 2}", "'a' appears twice"),
        ("seed=!!python/object/apply:os.system ['true']", "not readable YAML"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(recipe_file, override, says):
    with pytest.raises(ValueError, match=says) as caught:
        load_recipe(recipe_file, [override])
    assert override in str(caught.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases"),
        ("a: &a [*a]", "aliases"),
        ("name: x\nseed: 1\nseed: 2", "'seed' appears twice"),
        ("stages:\n  keep: {empty: keep, empty: reject}", "'empty' appears twice, line 2"),
        ("name: [", "not readable YAML"),
        ("name: \x00", "not readable YAML"),
        ("name: !!python/object/apply:os.system [true]", "not readable YAML"),
        ("day: 2024-13-45", "not readable YAML"),
        ("[" * 500, "not readable YAML"),
        ("- 1", "holds list; expected a mapping"),
        ("just words", "holds str; expected a mapping"),
        ("", "holds NoneType; expected a mapping"),
        ("a: 1\n---\nb: 2", "not readable YAML"),
    ],
)
def test_a_file_that_is_no_plain_recipe_is_refused_by_name(tmp_path, text, says):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        load_recipe(str(tmp_path / "odd.yaml"))
    assert "odd.yaml" in str(caught.value)


def test_a_file_that_is_not_utf_8_is_refused_by_name(tmp_path):
    (tmp_path / "odd.yaml").write_bytes("name: müll".encode("latin-1"))
    with pytest.raises(ValueError, match=r"odd\.yaml is not readable YAML"):
        load_recipe(str(tmp_path / "odd.yaml"))


def test_a_recipe_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml does not exist"):
        load_recipe(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ValueError, match="does not exist"):
        load_recipe(str(tmp_path / "folder.yaml"))


@pytest.fixture
def recipe_package(tmp_path, monkeypatch):
    folder = tmp_path / "little_recipes"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TEXT)
    (folder / "notes.txt").write_text("no recipe")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "little_recipes"


def test_a_shipped_recipe_is_found_by_name_and_an_unknown_one_is_refused(recipe_package):
    assert load_recipe("tiny", package=recipe_package)["seed"] == 3
    with pytest.raises(
        ValueError, match=r"unknown recipe: 'tini'; did you mean 'tiny'.*\.yaml file"
    ):
        load_recipe("tini", package=recipe_package)
    with pytest.raises(ValueError, match="Known: tiny "):
        load_recipe("../../etc/passwd", package=recipe_package)


def test_the_hash_names_the_meaning_and_not_the_spelling(tmp_path):
    plain = validate(Recipe, RAW, "recipe")
    backwards = dict(reversed(list(RAW.items())))
    assert recipe_hash(validate(Recipe, backwards, "recipe")) == recipe_hash(plain)
    spelled_out = {**RAW, "seed": 0, "unit_size": 32, "split": "train", "limit": None}
    assert recipe_hash(validate(Recipe, spelled_out, "recipe")) == recipe_hash(plain)
    whole_number = changed(("stages", "keep", "min_quality"), 1)
    with_point = changed(("stages", "keep", "min_quality"), 1.0)
    hashes = {recipe_hash(validate(Recipe, raw, "recipe")) for raw in (whole_number, with_point)}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "other"), (("seed",), 1), (("limit",), 5), (("unit_size",), 16),
        (("image_format",), "png"), (("split",), "val"), (("source", "path"), "others"),
        (("stages", "fuse", "rule"), "soft"), (("stages", "keep"), None),
        (("stages", "ground", "experts"), [{"use": "b"}, {"use": "a"}]),
    ],
)  # fmt: skip
def test_whatever_decides_the_bytes_changes_the_hash(path, value):
    other = validate(Recipe, changed(path, value), "recipe")
    assert recipe_hash(other) != recipe_hash(validate(Recipe, RAW, "recipe"))


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans()))
def test_a_recipe_survives_its_own_json(options):
    recipe = validate(Recipe, {**RAW, "source": {"kind": "folder", **options}}, "recipe")
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert recipe_hash(again) == recipe_hash(recipe)


def test_a_recipe_cannot_be_changed():
    recipe = validate(Recipe, RAW, "recipe")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2


def test_every_shipped_recipe_is_plain_yaml():
    folder = Path(__file__).parents[2] / "pipeline" / "recipes"
    for path in sorted(folder.glob("*.yaml")):
        assert load_recipe(path.stem)["name"] == path.stem
