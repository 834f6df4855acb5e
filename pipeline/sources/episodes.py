"""Robot episodes: frames of a camera, and what the robot was told to do.

    EPISODE/instruction.txt      one phrasing a line; or EPISODE/meta.json with "instruction" or "instructions"
    EPISODE/frame_0.jpg ...      in the order of their names, numbers by value: frame_10 comes after frame_9

Every folder in `path` is an episode. One sample for its first frame (what stands on the table before the arm hides
it), or for every n-th. Other collections become this layout in two lines each, e.g. for a step of Open X (RLDS)

    Image.fromarray(step["observation"]["image"].numpy()).save(f"{episode}/{n:05d}.png")
    Path(episode, "instruction.txt").write_bytes(step["language_instruction"].numpy())

and for an episode of LeRobot

    ffmpeg -i videos/chunk-000/observation.images.top/episode_000007.mp4 -q:v 2 runs/7/%05d.jpg
    jq -r 'select(.episode_index == 7).tasks[0]' meta/episodes.jsonl > runs/7/instruction.txt
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.image_files import SUFFIXES, duplicate, first_of_each, read_image
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id

NUMBER = re.compile(r"([0-9]+)")


class Config(FileConfig):
    """`path` is the folder of the episodes."""

    every: int | None = Field(default=None, ge=1)
    """Frames 0, n, 2n, ... of each episode; left out: its first frame alone."""
    camera: str = ""
    """The folder inside each episode that holds the frames; empty: the episode itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One frame to load, or an episode without any. `frames` is how many its episode has."""

    id: str
    episode: str
    name: str = ""
    frame: int = 0
    frames: int = 0


def make(config: Config, image_format: ImageFormat = "jpg") -> "Episodes":
    """List the frames.

    Raises:
        ValueError: the folder is missing, holds no folder, or `camera` leads out of an episode.
    """
    if not config.path.is_dir():
        raise ValueError(f"{config.path} does not exist; expected a folder of episodes")
    if config.camera and (Path(config.camera).is_absolute() or ".." in Path(config.camera).parts):
        raise ValueError(f"camera {config.camera!r}; expected the name of a folder in an episode")
    episodes = sorted((path.name for path in config.path.iterdir() if path.is_dir()), key=by_number)
    if not episodes:
        raise ValueError(
            f"{config.path} holds no folder; expected EPISODE/instruction.txt and EPISODE/frame_0.jpg"
        )
    return Episodes(config, image_format, episodes)


def by_number(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names as people do: the numbers in them by value, and letters as they stand.

    >>> sorted(["f10.jpg", "f9.jpg", "f09.jpg", "e11.jpg"], key=by_number)
    ['e11.jpg', 'f09.jpg', 'f9.jpg', 'f10.jpg']
    """
    parts = [part for part in NUMBER.split(name) if part]
    key = [(0, int(p), "") if NUMBER.fullmatch(p) else (1, 0, p) for p in parts]
    return [*key, (2, 0, name)]


class Episodes:
    """Episodes in the order of their names, frames in the order of theirs."""

    fills = frozenset[str]()

    def __init__(self, config: Config, image_format: ImageFormat, episodes: list[str]) -> None:
        self._config = config
        self._image_format: ImageFormat = image_format
        self._dataset = config.dataset or config.path.resolve().name
        self._items = [item for episode in episodes for item in self._list(episode)]
        self._first = first_of_each([item.id for item in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a frame, or why there is none."""
        item, first = self._items[index], self._first[index]
        if first != index:
            return duplicate(item.id, index, first)
        try:
            return self._sample(item)
        except Refused as error:
            return Refused(error.reason, f"{item.episode}: {error.detail}").reject(item.id)

    def _sample(self, item: Item) -> Sample:
        folder = self._config.path / item.episode / self._config.camera
        if not item.name:
            raise Refused("episode-empty", f"no frame in {folder}")
        return admit_sample(
            read_image(folder / item.name),
            id=item.id,
            image_format=self._image_format,
            instructions=told(self._config.path / item.episode),
            config=self._config,
            key=(Path(item.episode) / self._config.camera / item.name).as_posix(),
            dataset=self._dataset,
            style="robot",
            extra=(("episode", item.episode), ("frame", item.frame), ("frames", item.frames)),
        )

    def _list(self, episode: str) -> list[Item]:
        folder = self._config.path / episode / self._config.camera
        found = folder.iterdir() if folder.is_dir() else ()
        names = sorted((p.name for p in found if p.suffix.lower() in SUFFIXES), key=by_number)
        start = f"{self._dataset}-{episode}"
        if not names:
            return [Item(id=safe_id(start), episode=episode)]
        chosen = range(0, len(names), self._config.every or len(names))
        return [
            Item(
                id=safe_id(f"{start}-{frame:06d}"),
                episode=episode,
                name=names[frame],
                frame=frame,
                frames=len(names),
            )
            for frame in chosen
        ]


def told(episode: Path) -> list[Any]:
    """The phrasings of what an episode was told to do.

    Raises:
        Refused: no-instruction, sidecar-ambiguous, instruction-not-text or entry-not-json.
    """
    as_text, as_json = episode / "instruction.txt", episode / "meta.json"
    if as_text.is_file() and as_json.is_file():
        raise Refused("sidecar-ambiguous", f"both {as_text.name} and {as_json.name} exist")
    if as_text.is_file():
        try:
            lines = as_text.read_bytes().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise Refused("instruction-not-text", f"{as_text.name}: {error}") from error
        return [line for line in lines if line.strip()] or [""]
    if not as_json.is_file():
        raise Refused("no-instruction", f"expected {as_text.name} or {as_json.name}")
    try:
        fields = json.loads(as_json.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refused("entry-not-json", f"{as_json.name}: {error}") from error
    said = fields if isinstance(fields, dict) else {}
    several = said.get("instructions", [])
    texts = [
        *([said["instruction"]] if "instruction" in said else []),
        *(several if isinstance(several, list) else [several]),
    ]
    if not texts:
        raise Refused("no-instruction", f'{as_json.name} has no "instruction"')
    return texts
