"""Photographs that scikit-image and scikit-learn ship inside their wheels, with instructions of our own.

Written by looking at each photograph; nobody drew masks, so there is no gold. Nothing is downloaded: a photograph
that an installed version no longer ships becomes a reject. Licences are what the packages' own pages say of each
photograph; "not stated" where they say nothing. Synthetic pictures and microscope slides are left out.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pipeline.codec import ImageFormat
from pipeline.config import Strict
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.image_files import read_image
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id


class Config(Strict):
    """Nothing needs to be said."""

    split: str = Field("train", pattern=r"^[a-z][a-z0-9_]{0,31}$")


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to find: `key` names it inside its photograph; several phrasings of one instruction."""

    key: str
    style: str
    phrasings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph: the package that ships it, its path in there, its licence and origin, and what to find."""

    package: str
    path: str
    licence: str
    url: str
    targets: tuple[Target, ...]


def skimage(name: str, licence: str, url: str, *targets: Target) -> Photo:
    """A photograph of scikit-image."""
    return Photo("skimage", f"data/{name}", licence, url, targets)


def sklearn(name: str, licence: str, url: str, *targets: Target) -> Photo:
    """A photograph of scikit-learn."""
    return Photo("sklearn", f"datasets/images/{name}", licence, url, targets)


CC0 = "CC0-1.0"
CC_BY = "CC-BY-2.0"
PUBLIC = "public domain"
FREE = "no known copyright restrictions"
UNSTATED = "not stated"

PHOTOS: tuple[Photo, ...] = (
    skimage(
        "astronaut.png", PUBLIC, "",
        Target("astronaut", "phrase", (
            "the woman in the orange space suit", "the smiling astronaut", "the person")),
        Target("helmet", "command", (
            "pick up the white helmet with the black visor", "take the helmet at the bottom")),
        Target("flag", "question", (
            "Where is the flag?", "What is the red, white and blue thing on the left?")),
    ),
    skimage(
        "camera.png", CC0, "",
        Target("man", "phrase", ("the man in the dark coat", "the photographer on the left")),
        Target("tripod", "question", (
            "What is the camera standing on?", "Where is the tripod?")),
    ),
    skimage(
        "chelsea.png", CC0, "",
        Target("cat", "phrase", ("the tabby cat", "the cat's head")),
        Target("eyes", "all", ("both green eyes", "all the eyes of the cat")),
        Target("nose", "command", ("touch the cat's nose", "point at the pink nose")),
    ),
    skimage(
        "coffee.png", CC0, "",
        Target("cup", "command", ("pick up the red cup", "hand me the cup of espresso")),
        Target("spoon", "question", (
            "What can I stir with?", "Where is the small metal spoon?")),
        Target("saucer", "phrase", ("the red saucer under the cup", "the round plate")),
    ),
    skimage(
        "coins.png", FREE, "https://www.brooklynmuseum.org/opencollection/archives/image/51611",
        Target("coins", "all", ("all the coins", "every coin on the dark background")),
        Target("top-right", "phrase", (
            "the coin in the top right corner", "the last coin of the top row")),
    ),
    skimage(
        "motorcycle_left.png", UNSTATED, "http://vision.middlebury.edu/stereo/data/scenes2014/",
        Target("motorcycle", "phrase", ("the red motorcycle", "the motorbike parked in the garage")),
        Target("seat", "question", ("Where would the rider sit?", "Where is the black seat?")),
        Target("wheels", "all", ("both wheels of the motorcycle", "all its wheels")),
    ),
    skimage(
        "rocket.jpg", PUBLIC, "https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/",
        Target("rocket", "phrase", ("the white rocket", "the rocket standing in the middle")),
        Target("lights", "all", ("all the bright lights", "every shining lamp near the ground")),
    ),
    skimage(
        "hubble_deep_field.jpg", PUBLIC, "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        Target("galaxies", "all", ("all the galaxies", "everything that glows in the dark sky")),
    ),
    skimage(
        "retina.jpg", CC0, "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
        Target("disc", "question", (
            "Where does the optic nerve leave the eye?", "Where is the bright yellow spot?")),
        Target("retina", "phrase", ("the whole orange disc", "the round retina")),
    ),
    skimage(
        "moon.png", UNSTATED, "",
        Target("crater", "phrase", (
            "the round crater at the top left", "the largest crater", "the bright round crater")),
    ),
    skimage(
        "clock_motion.png", PUBLIC, "",
        Target("clock", "question", ("Where is the clock?", "What can I read the time from?")),
    ),
    skimage(
        "text.png", PUBLIC, "",
        Target("writing", "command", ("read the handwriting", "find the dark ink on the paper")),
    ),
    sklearn(
        "china.jpg", CC_BY, "https://www.flickr.com/photos/danielbuechele/6061409035/",
        Target("pagoda", "phrase", (
            "the red tower with the green and orange roofs", "the pagoda", "the temple")),
        Target("sky", "question", ("Where is the sky?", "Which part is blue and above the water?")),
    ),
    sklearn(
        "flower.jpg", CC_BY, "https://www.flickr.com/photos/vultilion/6056698931/",
        Target("flower", "command", ("pick the large orange flower", "water the dahlia in the middle")),
        Target("flowers", "all", ("all the orange flowers", "every flower, also the cut one below")),
    ),
)  # fmt: skip


def make(config: Config, image_format: ImageFormat = "jpg") -> "Photos":
    """List the photographs; none is opened."""
    return Photos(config, image_format)


class Photos:
    """Every target of every photograph, in the order written above."""

    fills = frozenset[str]()

    def __init__(self, config: Config, image_format: ImageFormat) -> None:
        self._split = config.split
        self._image_format: ImageFormat = image_format
        self._items = [(photo, target) for photo in PHOTOS for target in photo.targets]

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a target, or a reject where the package is missing or ships another picture."""
        photo, target = self._items[index]
        name = safe_id(f"photos-{Path(photo.path).stem}-{target.key}")
        try:
            spec = importlib.util.find_spec(photo.package)
            if spec is None or not spec.submodule_search_locations:
                raise Refused("image-missing", f"package {photo.package} is not installed")
            path = Path(spec.submodule_search_locations[0]) / photo.path
            return admit_sample(
                read_image(path),
                id=name,
                image_format=self._image_format,
                instructions=target.phrasings,
                config=FileConfig(path=path, split=self._split),
                key=f"{photo.package}/{photo.path}",
                dataset="photos",
                licence=photo.licence,
                url=photo.url,
                style=target.style,
            )
        except Refused as error:
            return error.reject(name)
