"""`verify` finds every damage: rows 18 to 23 of the fault matrix, and samples that contradict themselves.

Two kinds of damage: what happens to files after they were written (hashes and counts catch it), and what a wrong
writer would produce, where all hashes agree and only the contents give it away.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.codec import encode_mask_png, encode_sample
from pipeline.manifest import read_receipts, receipt_path, write_json
from pipeline.records import Reject
from pipeline.shards import BLOCK, ShardWriter
from pipeline.sidecar import WEIGHTS, write_sidecar
from pipeline.validate import Report, verify
from tests.pipeline.datasets_for_tests import (
    bare_sample,
    full_sample,
    samples,
    soft_sample,
    write_dataset,
)

REJECTS = [Reject(sample_id="dull-1", stage="keep", reason="quality-low", detail="0.1 < 0.3")]
SHARD = "shards/train-000000.tar"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound dataset of seven samples in four shards, one reject and one quarantined input; not to be written to."""
    root = tmp_path_factory.mktemp("whole")
    write_dataset(root, samples(7), rejects=REJECTS, quarantined=1)
    return root


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of the sound dataset, to damage."""
    return shutil.copytree(whole, tmp_path / "copy")


def told(report: Report) -> str:
    return "\n".join(map(str, report.problems))


def test_a_whole_dataset_has_no_problems(whole: Path):
    report = verify(whole)
    assert report.ok, told(report)
    assert (report.units, report.shards, report.samples) == (5, 4, 7)
    assert (report.gold, report.empty) == (3, 2)
    assert report.size == sum(p.stat().st_size for p in (whole / "shards").iterdir())


def test_a_dataset_of_png_images_and_one_without_any_sample_are_whole(tmp_path: Path):
    write_dataset(tmp_path / "png", samples(3, image_format="png"), split="val")
    write_dataset(tmp_path / "none", [], rejects=REJECTS)
    for root in (tmp_path / "png", tmp_path / "none"):
        assert verify(root).ok, told(verify(root))


def test_a_shard_cut_at_any_block_is_noticed(copy: Path):
    data = (copy / SHARD).read_bytes()
    for size in range(0, len(data), BLOCK):
        (copy / SHARD).write_bytes(data[:size])
        assert SHARD in told(verify(copy, decode=False)), f"cut at {size}"


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_a_shard_is_noticed(copy: Path):
    data = (copy / SHARD).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        bit = int(rng.integers(len(data) * 8))
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (copy / SHARD).write_bytes(damaged)
        assert SHARD in told(verify(copy, decode=False)), f"bit {bit}"


def test_a_zeroed_tail_is_noticed(copy: Path):
    data = (copy / SHARD).read_bytes()
    for kept in range(0, len(data) - 2 * BLOCK, 4096):
        (copy / SHARD).write_bytes(data[:kept] + bytes(len(data) - kept))
        assert SHARD in told(verify(copy, decode=False)), f"zero from {kept}"


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a missing shard": (lambda r: (r / SHARD).unlink(), f"{SHARD}: is missing"),
    "an extra shard": (
        lambda r: shutil.copy(r / SHARD, r / "shards/train-000009.tar"),
        "shards/train-000009.tar: belongs to no committed unit",
    ),
    "a duplicate shard": (
        lambda r: shutil.copy(r / SHARD, r / "shards/train-000001.tar"),
        "shards/train-000001.tar: has sha256",
    ),
    "two shards changed over": (
        lambda r: (
            (r / SHARD).rename(r / "x"),
            (r / "shards/train-000001.tar").rename(r / SHARD),
            (r / "x").rename(r / "shards/train-000001.tar"),
        ),
        f"{SHARD}: has sha256",
    ),
    "a temporary file": (
        lambda r: (r / "shards/.train-000000.tar.1.tmp").touch(),
        "left by an interrupted writer",
    ),
    "a missing receipt": (
        lambda r: (r / "receipts/train-000002.json").unlink(),
        "units 2 have no receipt",
    ),
    "a damaged receipt": (
        lambda r: (r / "receipts/train-000002.json").write_text('{"unit"'),
        "receipts/train-000002.json: is not a sound receipt",
    ),
    "a receipt that does not add up": (
        lambda r: edit(r / "receipts/train-000002.json", inputs=99),
        "receipts/train-000002.json: is not a sound receipt",
    ),
    "a receipt of another unit": (
        lambda r: shutil.copy(r / "receipts/train-000002.json", r / "receipts/train-000007.json"),
        "receipts/train-000007.json: says it is of unit 2",
    ),
    "a receipt of another recipe": (
        lambda r: edit(r / "receipts/train-000002.json", recipe_hash="0" * 64),
        "receipts: are of 2 recipes",
    ),
    "a receipt that counts other gold": (
        lambda r: edit(r / "receipts/train-000000.json", gold=2),
        f"{SHARD}: its receipt counts other gold",
    ),
    "a receipt with moved offsets": (
        lambda r: edit(
            r / "receipts/train-000000.json", offsets={"full-0000": 0, "bare-0001": 512}
        ),
        f"{SHARD}: sample bare-0001 is not at offset 512",
    ),
    "a receipt that leads out of the folder": (
        lambda r: edit(r / "receipts/train-000000.json", shard="../../other.tar"),
        "receipts/train-000000.json: is not a sound receipt",
    ),
    "no manifest": (lambda r: (r / "manifest.json").unlink(), "manifest.json: "),
    "a cut manifest": (
        lambda r: (r / "manifest.json").write_bytes((r / "manifest.json").read_bytes()[:200]),
        "manifest.json: ",
    ),
    "a manifest of another version": (
        lambda r: edit(r / "manifest.json", format=1),
        "format",
    ),
    "an edited recipe": (
        lambda r: edit(r / "manifest.json", recipe={"name": "tiny", "split": "train"}),
        "manifest.json: its recipe does not give its recipe_hash",
    ),
    "an edited recipe hash": (
        lambda r: edit(r / "manifest.json", recipe_hash="0" * 64),
        "manifest.json: its recipe does not give its recipe_hash",
    ),
    "a manifest without its last shard": (
        lambda r: edit(r / "manifest.json", shards=["shards/train-000000.tar"]),
        "manifest.json: its shards are not those of the receipts",
    ),
    "a manifest of fewer units": (
        lambda r: edit(r / "manifest.json", units=4),
        "units [4] are beyond the 4 units",
    ),
    "a renamed dataset": (
        lambda r: edit(r / "manifest.json", name="other"),
        "manifest.json: name is not the name of its recipe",
    ),
    "an edited plan": (
        lambda r: (r / "plan.json").write_text(
            '{"recipe_hash":"a","inputs":1,"units":1,"panel":[]}'
        ),
        "plan.json: names another recipe",
    ),
    "lost rejects": (
        lambda r: (r / "rejects/train-000004.jsonl").unlink(),
        "rejects/train-000004.jsonl: does not hold what the receipt",
    ),
    "damaged rejects": (
        lambda r: (r / "rejects/train-000004.jsonl").write_text('{"sample_id": 3}\n'),
        "rejects/train-000004.jsonl: is not readable",
    ),
    "rejects of no unit": (
        lambda r: (r / "rejects/train-000017.jsonl").write_text(""),
        "rejects/train-000017.jsonl: belongs to no committed unit",
    ),
    "no index": (lambda r: (r / "index/train.parquet").unlink(), "index/train.parquet: "),
    "a damaged index": (
        lambda r: (r / "index/train.parquet").write_bytes(b"PAR1"),
        "index/train.parquet: ",
    ),
    "the index of another dataset": (
        lambda r: shutil.copy(
            other(r.parent / "other") / "index/train.parquet", r / "index/train.parquet"
        ),
        "index/train.parquet: does not say what the shards hold",
    ),
    "a sidecar about strangers": (
        lambda r: write_sidecar(
            r,
            "weights",
            WEIGHTS.empty_table().from_pylist(
                [{"sample_id": "who", "p_clean": 1.0, "weight": 1.0, "fold": 0}], schema=WEIGHTS
            ),
        ),
        "sidecars/weights.parquet: speaks of 1 samples not here (who)",
    ),
}


def edit(path: Path, **changes: Any) -> None:
    fields = json.loads(path.read_text())
    assert fields.keys() >= changes.keys()
    path.write_text(json.dumps(fields | changes))


def other(root: Path) -> Path:
    write_dataset(root, samples(6))
    return root


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_to_the_folder_is_noticed_and_named(copy: Path, damage: str):
    do, expected = DAMAGES[damage]
    do(copy)
    report = verify(copy, decode=False)
    assert expected in told(report)
    assert all(problem.remedy for problem in report.problems)


def test_one_damage_is_told_once(copy: Path):
    (copy / SHARD).write_bytes(b"x" * 1024)
    assert [p.file for p in verify(copy).problems] == [SHARD]


def test_a_folder_that_is_no_dataset_says_so(tmp_path: Path):
    assert "no maskmix dataset" in told(verify(tmp_path))
    assert "no maskmix dataset" in told(verify(tmp_path / "absent"))


def forge(root: Path, members: list[tuple[str, list[tuple[str, bytes]]]]) -> None:
    """Replace the first shard by these members and make its receipt vouch for them: hashes find nothing now."""
    with ShardWriter(root / SHARD) as writer:
        for key, parts in members:
            writer.write(key, parts)
    assert writer.stat
    receipt = next(read_receipts(root)).model_copy(
        update={
            "sha256": writer.stat.sha256,
            "size": writer.stat.size,
            "offsets": dict(writer.stat.offsets),
        }
    )
    write_json(receipt_path(root, "train", 0), receipt)


def whole_members() -> list[tuple[str, list[tuple[str, bytes]]]]:
    return [(s.id, encode_sample(s, "jpg")) for s in samples(2)]


def with_json(path: str, value: Any) -> list[tuple[str, list[tuple[str, bytes]]]]:
    """The first two samples, with one field of the first one's json set (`a.0.b`), or dropped when `value` is `...`."""
    (key, parts), second = whole_members()
    fields = json.loads(parts[2][1])
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    node = fields
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return [(key, [*parts[:2], ("json", json.dumps(fields).encode())]), second]


def with_member(position: int, data: bytes) -> list[tuple[str, list[tuple[str, bytes]]]]:
    (key, parts), second = whole_members()
    parts[position] = (parts[position][0], data)
    return [(key, parts), second]


def swapped_masks() -> list[tuple[str, list[tuple[str, bytes]]]]:
    first, second = whole_members()
    first[1][1], second[1][1] = second[1][1], first[1][1]
    return [first, second]


def swapped_order() -> list[tuple[str, list[tuple[str, bytes]]]]:
    first, second = whole_members()
    return [(first[0], first[1][::-1]), second]


FULL = full_sample(0)
GREY = np.full(FULL.size_hw, 100, np.uint8)
FORGERIES: dict[str, tuple[Callable[[], Any], str]] = {
    "masks swapped between samples": (swapped_masks, "full-0000.mask.png is 20x28"),
    "members in another order": (swapped_order, "full-0000 has members json, mask.png, jpg"),
    "a field missing": (lambda: with_json("style", ...), "style is missing"),
    "a field too many": (lambda: with_json("colour", "red"), "colour is not a field"),
    "an int where a float is due": (lambda: with_json("quality.score", 1), "quality.score is int"),
    "a float where an int is due": (lambda: with_json("height", 24.0), "height is float"),
    "a null": (lambda: with_json("style", None), "style is NoneType"),
    "another id": (lambda: with_json("id", "full-0001"), "id is 'full-0001'"),
    "another height": (lambda: with_json("height", 25), "full-0000.jpg is 24x32 (h, w)"),
    "blank instructions": (lambda: with_json("instructions", [" "]), "instructions are empty"),
    "no instructions": (lambda: with_json("instructions", []), "instructions are empty"),
    "another area": (lambda: with_json("label.area", 81), "covers 80 pixels; label.area is 81"),
    "another box": (lambda: with_json("label.box", [0.0, 0.0, 1.0, 1.0]), "label.box is [0.0,"),
    "a box outside": (lambda: with_json("proposals.0.box", [0.0, 0.0, 99.0, 1.0]), "leaves"),
    "a score above one": (lambda: with_json("quality.score", 1.5), "quality.score is 1.5"),
    "a member that is no candidate": (lambda: with_json("label.members", [3]), "is 3, but there"),
    "a candidate of another size": (
        lambda: with_json("candidates.0.mask.size", [2, 2]),
        "candidates[0].mask has size [2, 2]",
    ),
    "a candidate of cut runs": (
        lambda: with_json("candidates.0.mask.counts", "05"),
        "candidates[0].mask: ",
    ),
    "gold of wrong runs": (lambda: with_json("gold.counts", "0"), "gold: "),
    "gold without a role": (lambda: with_json("gold_role", ""), "gold_role is '' but gold has"),
    "an unknown role": (lambda: with_json("gold_role", "test"), "gold_role is 'test'"),
    "extra that is no object": (lambda: with_json("extra", "[]"), "extra is not the text"),
    "another image": (lambda: with_member(0, soft_sample(9).image), "is not the image that"),
    "a cut image": (lambda: with_member(0, FULL.image[:-200]), "full-0000.jpg "),
    "a mask that is no picture": (lambda: with_member(1, b"x"), "not a readable 8-bit grey PNG"),
    "a grey mask called binary": (
        lambda: with_member(1, encode_mask_png(GREY)),
        "holds grey levels",
    ),
    "a mask of another size": (
        lambda: with_member(1, encode_mask_png(GREY[:5, :5])),
        "full-0000.mask.png is 5x5",
    ),
    "json that is none": (lambda: with_member(2, b"{"), "json member is damaged"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_sample_that_contradicts_itself_is_noticed_although_all_hashes_agree(
    copy: Path, forgery: str
):
    make, expected = FORGERIES[forgery]
    forge(copy, make())
    assert expected in told(verify(copy))


def test_a_png_called_jpg_and_an_image_that_is_not_upright_are_noticed(copy: Path):
    from io import BytesIO

    from PIL import Image

    turned, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    with Image.open(BytesIO(FULL.image)) as image:
        image.save(turned, "JPEG", exif=exif.tobytes())
    forge(copy, with_member(0, turned.getvalue()))
    assert "EXIF orientation" in told(verify(copy))
    forge(copy, with_member(0, full_sample(0, image_format="png").image))
    assert "holds PNG bytes" in told(verify(copy))


def test_an_id_in_two_shards_is_noticed(tmp_path: Path):
    write_dataset(tmp_path, [full_sample(0), bare_sample(1), full_sample(0)])
    assert "sample full-0000 is in shards/train-000000.tar too" in told(verify(tmp_path))


def test_a_jpg_sample_in_a_dataset_of_png_is_noticed(tmp_path: Path):
    write_dataset(tmp_path, samples(2))
    edit(tmp_path / "manifest.json", recipe={"image_format": "png"})
    assert "has members jpg, mask.png, json; expected png" in told(verify(tmp_path))


def test_without_decoding_pixels_are_taken_on_trust(copy: Path):
    forge(copy, with_member(1, b"x"))
    (copy / "index/train.parquet").unlink()
    assert "mask.png" not in told(verify(copy, decode=False))
    assert "mask.png" in told(verify(copy))


def test_an_empty_label_next_to_a_filled_mask_is_noticed(copy: Path):
    sample = bare_sample(1)
    parts = encode_sample(sample, "jpg")
    parts[1] = ("mask.png", encode_mask_png(np.full(sample.size_hw, 255, np.uint8)))
    first, _ = whole_members()
    forge(copy, [first, (sample.id, parts)])
    assert "bare-0001.mask.png covers 560 pixels; label.area is 0" in told(verify(copy))
