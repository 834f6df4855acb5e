"""What one stored sample must hold beyond its types: every promise of data_cards/FORMAT.md, section 3, checked.

Reads members as bytes, not through `decode_sample`, so that it can say all that is wrong with a sample and not only
the first thing. Images are decoded with Pillow, which refuses cut files that OpenCV would fill with grey.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from PIL import Image

from annotators.boxes import box_of, check_box
from annotators.masks import decode_rle
from annotators.phrase import Role
from pipeline.codec import JSON_SUFFIX, MASK_SUFFIX, ImageFormat, decode_json, decode_mask_png
from pipeline.records import ID
from pipeline.schema import parse_json

ORIENTATION = 0x0112
SHA256 = re.compile(r"[0-9a-f]{64}")
PIL_NAME = {"jpg": "JPEG", "png": "PNG"}


def check_sample(
    key: str, members: Mapping[str, memoryview], *, image_format: ImageFormat, decode: bool
) -> tuple[dict[str, Any] | None, list[str]]:
    """The fields of the json member (None when they do not follow the schema), and all that is wrong with a sample.

    `decode` also decodes the image, the mask and every run-length code, and compares them with the fields.
    """
    if not ID.fullmatch(key):
        return None, [f"key {key!r} is no sample id; expected {ID.pattern}"]
    if list(members) != [image_format, MASK_SUFFIX, JSON_SUFFIX]:
        expected = f"{image_format}, {MASK_SUFFIX}, {JSON_SUFFIX}"
        return None, [f"{key} has members {', '.join(members)}; expected {expected} in this order"]
    try:
        fields = decode_json(key, members[JSON_SUFFIX])
    except ValueError as error:
        return None, [str(error)]
    wrong = [f"{key}.json: {what}" for what in _fields(key, fields)]
    image = bytes(members[image_format])
    source = fields["source"]
    if not SHA256.fullmatch(source["image_sha256"]):
        wrong.append(f"{key}.json: source.image_sha256 is no sha256 in hexadecimal")
    elif not source["transcoded"] and _sha256(image) != source["image_sha256"]:
        wrong.append(f"{key}.{image_format} is not the image that source.image_sha256 names")
    if decode:
        wrong += [f"{key}.{image_format} {what}" for what in _image(image, image_format, fields)]
        wrong += [f"{key}.{MASK_SUFFIX} {what}" for what in _mask(key, members, fields)]
        wrong += [f"{key}.json: {what}" for what in _codes(fields)]
    return fields, wrong


def _fields(key: str, f: Mapping[str, Any]) -> Iterator[str]:
    size = [f["height"], f["width"]]
    if f["id"] != key:
        yield f"id is {f['id']!r}; expected {key!r}"
    if min(size) < 1:
        yield f"height, width are {size}; expected at least 1 pixel"
    if not f["instructions"] or not all(text.strip() for text in f["instructions"]):
        yield "instructions are empty or blank"
    if f["gold_role"] not in ("", "train", "audit"):
        yield f"gold_role is {f['gold_role']!r}; expected train, audit or nothing"
    if bool(f["gold_role"]) != bool(f["gold"]["size"]):
        yield f"gold_role is {f['gold_role']!r} but gold has size {f['gold']['size']}"
    if f["gold"]["size"] not in ([], size) or (f["gold"]["counts"] and not f["gold"]["size"]):
        yield f"gold has size {f['gold']['size']}; expected {size} (h, w), or [] without counts"
    yield from _label(f)
    yield from _unit("quality.score", f["quality"]["score"])
    for part in f["quality"]["parts"]:
        yield from _unit(f"quality part {part['name']!r}", part["value"])
    for n, phrase in enumerate(f["phrases"]):
        if phrase["role"] not in get_args(Role) or not phrase["text"].strip():
            yield f"phrases[{n}] has role {phrase['role']!r}, text {phrase['text'][:40]!r}"
    phrases = max(1, len(f["phrases"]))
    for n, proposal in enumerate(f["proposals"]):
        yield from _box(f"proposals[{n}].box", proposal["box"], f)
        yield from _unit(f"proposals[{n}].score", proposal["score"])
        yield from _below(f"proposals[{n}].phrase", proposal["phrase"], phrases)
    for n, candidate in enumerate(f["candidates"]):
        if candidate["mask"]["size"] != size:
            yield f"candidates[{n}].mask has size {candidate['mask']['size']}; expected {size} (h, w)"
        yield from _unit(f"candidates[{n}].mask_score", candidate["mask_score"])
        yield from _unit(f"candidates[{n}].stability", candidate["stability"])
        yield from _below(f"candidates[{n}].phrase", candidate["phrase"], phrases)
        if candidate["proposal"] != -1:
            yield from _below(
                f"candidates[{n}].proposal", candidate["proposal"], len(f["proposals"])
            )
    try:
        extra = parse_json(f["extra"])
    except ValueError as error:
        extra = error
    if not isinstance(extra, dict):
        yield "extra is not the text of a JSON object"


def _label(f: Mapping[str, Any]) -> Iterator[str]:
    label = f["label"]
    if label["kind"] not in ("binary", "soft"):
        yield f"label.kind is {label['kind']!r}; expected binary or soft"
    for n, member in enumerate(label["members"]):
        yield from _below(f"label.members[{n}]", member, len(f["candidates"]))
    if bool(label["box"]) != (label["area"] > 0):
        yield f"label.box is {label['box']} but label.area is {label['area']}"
    if label["box"]:
        yield from _box("label.box", label["box"], f)


def _box(what: str, box: list[float], f: Mapping[str, Any]) -> Iterator[str]:
    if len(box) != 4:
        yield f"{what} has {len(box)} numbers; expected x1, y1, x2, y2"
        return
    try:
        check_box((box[0], box[1], box[2], box[3]), (f["height"], f["width"]))
    except ValueError as error:
        yield f"{what}: {error}"


def _unit(what: str, value: float) -> Iterator[str]:
    if not 0.0 <= value <= 1.0:
        yield f"{what} is {value}; expected a number in [0, 1]"


def _below(what: str, value: int, count: int) -> Iterator[str]:
    if not 0 <= value < count:
        yield f"{what} is {value}, but there are {count} of them"


def _image(data: bytes, image_format: ImageFormat, f: Mapping[str, Any]) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, found = (image.height, image.width), image.format
            upright = image.getexif().get(ORIENTATION, 1) == 1
            if size == (f["height"], f["width"]):
                image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        yield f"does not decode: {error}"
        return
    if found != PIL_NAME[image_format]:
        yield f"holds {found} bytes"
    if size != (f["height"], f["width"]):
        yield f"is {size[0]}x{size[1]} (h, w); its json says {f['height']}x{f['width']}"
    if not upright:
        yield "carries an EXIF orientation; stored images are upright as they stand"


def _mask(key: str, members: Mapping[str, memoryview], f: Mapping[str, Any]) -> Iterator[str]:
    try:
        mask = decode_mask_png(key, members[MASK_SUFFIX])
    except ValueError:
        yield "is not a readable 8-bit grey PNG"
        return
    label, size = f["label"], (f["height"], f["width"])
    if mask.shape != size:
        yield f"is {mask.shape[0]}x{mask.shape[1]} (h, w); its json says {size[0]}x{size[1]}"
        return
    if label["kind"] == "binary" and not ((mask == 0) | (mask == 255)).all():
        yield "holds grey levels, but label.kind is binary"
    inside = mask >= 128
    if int(inside.sum()) != label["area"]:
        yield f"covers {int(inside.sum())} pixels; label.area is {label['area']}"
    if list(box_of(inside) or ()) != label["box"]:
        yield f"has box {box_of(inside)}; label.box is {label['box']}"


def _codes(f: Mapping[str, Any]) -> Iterator[str]:
    codes = [(f"candidates[{n}].mask", c["mask"]) for n, c in enumerate(f["candidates"])]
    codes += [("gold", f["gold"])] if f["gold"]["size"] else []
    for what, code in codes:
        if code["size"] == [f["height"], f["width"]]:
            try:
                decode_rle((f["height"], f["width"]), code["counts"])
            except ValueError as error:
                yield f"{what}: {error}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
