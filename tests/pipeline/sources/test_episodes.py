"""The episodes source: frames in the order in which they were taken, and episodes that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources import episodes
from tests.pipeline.sources.files_for_tests import load_all, reasons, save_image, the_sample


def episode(
    folder: Path, name: str, frames: int = 12, told: str | None = "pick up the cup"
) -> Path:
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    for number in range(frames):
        save_image(home / f"frame_{number}.jpg", seed=number)
    if told is not None:
        (home / "instruction.txt").write_text(told)
    return home


def source(folder: Path, **options: Any) -> episodes.Episodes:
    return episodes.make(episodes.Config(path=folder, dataset="runs", **options))


def test_the_first_frame_of_each_episode_is_a_sample(tmp_path: Path):
    for name in ("ep10", "ep9"):
        episode(tmp_path, name)
    got = source(tmp_path)
    assert [the_sample(got, n).id for n in range(2)] == ["runs-ep9-000000", "runs-ep10-000000"]
    sample = the_sample(got)
    assert (sample.instructions, sample.style) == (("pick up the cup",), "robot")
    assert sample.source.key == "ep9/frame_0.jpg"
    assert dict(sample.extra) == {"episode": "ep9", "frame": 0, "frames": 12}


def test_every_nth_frame_comes_in_the_order_of_numbers(tmp_path: Path):
    episode(tmp_path, "a")
    got = source(tmp_path, every=5)
    assert [the_sample(got, n).source.key for n in range(len(got))] == [
        "a/frame_0.jpg",
        "a/frame_5.jpg",
        "a/frame_10.jpg",
    ]
    everything = source(tmp_path, every=1)
    order = [the_sample(everything, n).source.key for n in range(12)]
    assert order == [f"a/frame_{n}.jpg" for n in range(12)]


def test_a_camera_is_a_folder_inside_each_episode(tmp_path: Path):
    home = episode(tmp_path, "a", 0)
    save_image(home / "top" / "00001.png")
    episode(tmp_path, "b", 3)
    got = source(tmp_path, camera="top")
    assert reasons(got) == ["", "episode-empty"]
    assert the_sample(got).source.key == "a/top/00001.png"
    with pytest.raises(ValueError, match="camera"):
        source(tmp_path, camera="../b")


@pytest.mark.parametrize(
    ("meta", "texts"),
    [
        ({"instruction": "stack them", "fps": 5}, ("stack them",)),
        ({"instructions": ["stack", "pile up"]}, ("stack", "pile up")),
        ({"instructions": "stack"}, ("stack",)),
    ],
)
def test_the_instruction_may_stand_in_meta_json(
    tmp_path: Path, meta: dict[str, Any], texts: tuple[str, ...]
):
    home = episode(tmp_path, "a", 1, told=None)
    (home / "meta.json").write_text(json.dumps(meta))
    assert the_sample(source(tmp_path)).instructions == texts


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no-instruction"),
        ({"instruction.txt": b"\n \n"}, "instruction-empty"),
        ({"instruction.txt": b"\xff\xfe"}, "instruction-not-text"),
        ({"meta.json": b"{}"}, "no-instruction"),
        ({"meta.json": b"[]"}, "no-instruction"),
        ({"meta.json": b"{"}, "entry-not-json"),
        ({"meta.json": b"[" * 100_000}, "entry-not-json"),
        ({"meta.json": b'{"instruction": 3}'}, "instruction-not-text"),
        ({"meta.json": b"{}", "instruction.txt": b"a"}, "sidecar-ambiguous"),
        ({"frame_0.jpg": b""}, "image-empty"),
    ],
)
def test_a_bad_episode_is_a_reject_and_its_neighbours_are_not(
    tmp_path: Path, files: dict[str, bytes], reason: str
):
    episode(tmp_path, "1")
    home = episode(tmp_path, "2", 2, told="go" if "frame_0.jpg" in files else None)
    for name, data in files.items():
        (home / name).write_bytes(data)
    episode(tmp_path, "3")
    assert reasons(source(tmp_path)) == ["", reason, ""]


def test_an_episode_without_frames_is_one_reject(tmp_path: Path):
    episode(tmp_path, "a", 0)
    (tmp_path / "a" / "notes.txt").write_text("x")
    assert reasons(source(tmp_path, every=2)) == ["episode-empty"]
    assert "no frame in" in load_all(source(tmp_path))[0].detail  # type: ignore[union-attr]


def test_what_is_missing_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no folder"):
        source(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        source(tmp_path / "none")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        source(tmp_path, every=0)
