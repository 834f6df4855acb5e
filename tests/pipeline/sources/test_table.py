"""The table source: parquet files and datasets by column, whatever form their cells have."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotators.masks import encode_mask
from pipeline.sources import table
from tests.pipeline.sources.files_for_tests import SIZE, reasons, save_image, the_sample

MASK = np.zeros(SIZE, np.uint8)
MASK[2:12, 5:15] = 255
PNG = cv2.imencode(".png", MASK)[1].tobytes()
RLE = {"size": list(SIZE), "counts": encode_mask(MASK).counts}


def picture(folder: Path, seed: int = 0) -> bytes:
    return save_image(folder / "pictures" / f"{seed}.jpg", seed=seed).read_bytes()


def row(folder: Path, number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "image": {"bytes": picture(folder, number), "path": None},
        "instruction": "the mug",
        **more,
    }


def source(folder: Path, *rows: dict[str, Any], group: int = 2, **options: Any) -> table.Table:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "t.parquet", row_group_size=group)
    return table.make(table.Config.model_validate({"path": folder / "t.parquet", **options}))


def test_a_row_becomes_a_sample_by_the_columns_that_are_named(tmp_path: Path):
    said = {"pic": picture(tmp_path), "q": ["the mug", "a mug"], "n": 7, "kind": "phrase"}
    names = {
        "image": "pic",
        "instruction": "q",
        "id": "n",
        "style": "kind",
        "licence": "l",
        "url": "u",
    }
    got = source(
        tmp_path, {**said, "l": "CC0", "u": None}, columns=names, dataset="mugs", split="val"
    )
    sample = the_sample(got)
    assert (sample.id, sample.instructions, sample.style) == (
        "mugs-7",
        ("the mug", "a mug"),
        "phrase",
    )
    assert (sample.source.licence, sample.source.url, sample.source.split) == ("CC0", "", "val")
    assert (sample.image, sample.gold, sample.extra) == (said["pic"], None, ())


def test_images_are_bytes_or_structs_or_paths(tmp_path: Path):
    data = picture(tmp_path)
    for cell in (
        data,
        {"bytes": data, "path": "a.jpg"},
        {"bytes": None, "path": "pictures/0.jpg"},
        "pictures/0.jpg",
        str(tmp_path / "pictures" / "0.jpg"),
    ):
        got = source(tmp_path, {"image": cell, "instruction": "the mug"})
        assert the_sample(got).image == data


@pytest.mark.parametrize(
    "cell",
    [
        PNG,
        {"bytes": PNG, "path": "m.png"},
        "m.png",
        RLE,
        {**RLE, "counts": RLE["counts"].encode()},
        json.dumps(RLE),
        [[5.0, 2.0, 15.0, 2.0, 15.0, 12.0, 5.0, 12.0]],
    ],
)
def test_masks_are_pictures_or_run_lengths_or_polygons(tmp_path: Path, cell: Any):
    (tmp_path / "m.png").write_bytes(PNG)
    got = source(
        tmp_path, row(tmp_path, mask=cell), row(tmp_path, mask=None), columns={"mask": "mask"}
    )
    gold = the_sample(got).gold
    assert gold is not None
    assert (gold.array() == (MASK > 0)).all()
    assert the_sample(got, 1).gold is None


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ([5, 2, 15, 12], {}),
        ([[5.0, 2.0, 15.0, 12.0]], {}),
        ([5, 2, 10, 10], {"box_form": "xywh"}),
        ([5 / 30, 2 / 20, 15 / 30, 12 / 20], {"boxes_normalised": True}),
        ([5 / 30, 2 / 20, 10 / 30, 10 / 20], {"box_form": "xywh", "boxes_normalised": True}),
    ],
)
def test_boxes_of_every_convention_are_the_same_box(tmp_path: Path, cell: Any, options: Any):
    got = source(tmp_path, row(tmp_path, b=cell), columns={"boxes": "b"}, **options)
    sample = the_sample(got)
    assert sample.gold is None
    assert np.allclose(sample.boxes, [[5, 2, 15, 12]])


def test_with_masks_and_boxes_the_mask_is_gold_unless_boxes_are_asked_for(tmp_path: Path):
    both = row(tmp_path, mask=PNG, b=[[5, 2, 15, 12]])
    names = {"mask": "mask", "boxes": "b"}
    masked, boxed = (
        the_sample(source(tmp_path, both, columns=names, gold=gold)) for gold in ("mask", "box")
    )
    assert (masked.gold is not None, masked.boxes) == (True, ())
    assert (boxed.gold is None, len(boxed.boxes)) == (True, 1)
    with pytest.raises(ValueError, match=r"needs columns\.boxes"):
        source(tmp_path, both, columns={"mask": "mask"}, gold="box")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"image": {"bytes": b"", "path": None}}, "image-empty"),
        ({"image": {"bytes": b"no", "path": None}}, "image-format"),
        ({"image": None}, "image-missing"),
        ({"image": {"bytes": None, "path": None}}, "image-missing"),
        ({"image": {"bytes": None, "path": "none.jpg"}}, "image-missing"),
        ({"image": {"bytes": None, "path": "https://a/b.jpg"}}, "image-url"),
        ({"instruction": None}, "instruction-missing"),
        ({"instruction": " "}, "instruction-empty"),
        ({"mask": b"no"}, "mask-format"),
        ({"mask": PNG[:50]}, "mask-damaged"),
        ({"mask": cv2.imencode(".png", MASK[1:])[1].tobytes()}, "mask-size"),
        ({"id": "1"}, "duplicate-id"),
    ],
)
def test_a_bad_row_is_a_reject_and_its_neighbours_are_not(
    tmp_path: Path, bad: dict[str, Any], reason: str
):
    rows = [row(tmp_path, n, mask=PNG, id=str(n)) for n in range(1, 4)]
    rows[1] = {**rows[1], **bad}
    got = source(tmp_path, *rows, columns={"mask": "mask", "id": "id"})
    assert reasons(got) == ["", reason, ""]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"size": [20, 30]', "mask-damaged"),
        ('{"size": [20, 30], "counts": "x"}', "mask-damaged"),
        ('{"size": [30, 20], "counts": [600]}', "mask-size"),
        ("none.png", "mask-missing"),
    ],
)
def test_a_bad_mask_in_words_is_a_reject(tmp_path: Path, bad: str, reason: str):
    assert reasons(source(tmp_path, row(tmp_path, mask=bad), columns={"mask": "mask"})) == [reason]


@pytest.mark.parametrize(
    ("bad", "reason"), [([1, 2, 3], "box-damaged"), ([40, 1, 50, 9], "box-empty")]
)
def test_a_bad_box_is_a_reject(tmp_path: Path, bad: Any, reason: str):
    assert reasons(source(tmp_path, row(tmp_path, b=bad), columns={"boxes": "b"})) == [reason]


def test_a_wrong_column_is_an_error_that_lists_those_there_are(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"columns\.mask: unknown column: 'maks'.*image, instruction"
    ):
        source(tmp_path, row(tmp_path), columns={"mask": "maks"})
    with pytest.raises(ValueError, match=r"columns\.image is empty"):
        source(tmp_path, row(tmp_path), columns={"image": ""})


def test_rows_are_found_in_any_order_over_groups_and_files(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    for part in range(3):
        rows = [
            {"image": picture(tmp_path, n % 5), "instruction": f"thing {n}"}
            for n in range(part * 50, part * 50 + 50)
        ]
        name = folder / f"train-{part}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), name, row_group_size=40)
    got = table.make(table.Config(path=tmp_path, files="data/train-*.parquet"))
    assert len(got) == 150
    order = np.random.default_rng(0).permutation(150).tolist()
    for index in [*range(150), *order, 149, 0]:
        assert the_sample(got, index).instructions == (f"thing {index}",)


def test_a_table_is_not_held_in_memory(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    schema = pa.schema([("image", pa.binary()), ("instruction", pa.string())])
    with pq.ParquetWriter(tmp_path / "t.parquet", schema, data_page_size=2**20) as writer:
        rows = [{"image": data, "instruction": "x"}] * 120
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=120)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    got = table.make(table.Config(path=tmp_path / "t.parquet"))
    the_sample(got, 60)
    held = pa.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 0.6 * len(data) * 120, (held, len(data))


def test_a_damaged_page_costs_the_rows_in_it_and_no_error(tmp_path: Path):
    rows = [{"image": picture(tmp_path, n), "instruction": f"thing {n}"} for n in range(8)]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4, compression="gzip")
    said = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = said.dictionary_page_offset or said.data_page_offset
    data[start : start + said.total_compressed_size] = b"\xff" * said.total_compressed_size
    path.write_bytes(data)
    got = table.make(table.Config(path=path))
    assert reasons(got) == [""] * 4 + ["row-unreadable"] * 4


def test_a_dataset_saved_to_disk_is_read_without_decoding(tmp_path: Path):
    import datasets

    rows = [row(tmp_path, n, instruction=f"thing {n}") for n in range(4)]
    features = datasets.Features(
        {"image": datasets.Image(), "instruction": datasets.Value("string")}
    )
    saved = datasets.Dataset.from_list(rows, features=features)
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": saved, "val": saved.select([2])}).save_to_disk(tmp_path / "more")
    got = table.make(table.Config(path=tmp_path / "one"))
    assert [the_sample(got, n).instructions[0] for n in range(4)] == [
        f"thing {n}" for n in range(4)
    ]
    assert the_sample(got, 3).image == rows[3]["image"]["bytes"]
    got = table.make(table.Config(path=tmp_path / "more", split="val"))
    assert the_sample(got).instructions == ("thing 2",)
    with pytest.raises(ValueError, match="has splits train, val; got 'test'"):
        table.make(table.Config(path=tmp_path / "more", split="test"))


def test_what_is_missing_is_an_error(tmp_path: Path):
    for options, says in (
        ({}, "either source.path or source.hub"),
        ({"path": tmp_path, "hub": "a/b"}, "either source.path or source.hub"),
        ({"hub": "a/b"}, "give source.revision"),
        ({"path": tmp_path / "none"}, "does not exist"),
        ({"path": tmp_path}, "set source.files"),
    ):
        with pytest.raises(ValueError, match=says):
            table.make(table.Config.model_validate(options))
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="no readable parquet"):
        table.make(table.Config(path=tmp_path))
    pq.write_table(pa.table({"image": [b""], "instruction": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet has columns image; a\.parquet has"):
        table.make(table.Config(path=tmp_path))
    empty = pa.table({"image": pa.array([], pa.binary()), "instruction": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="holds no row"):
        table.make(table.Config(path=tmp_path / "b.parquet"))
