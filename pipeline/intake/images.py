"""Images at the edge: bytes come in from anywhere, and leave as an upright 8-bit JPEG or PNG or not at all.

The header is read before any pixel, so that a bomb costs no memory; then the image is really decoded once, which
proves that it is whole. Bytes that are good as they are stay as received; all others are transcoded once and say so
in `Admitted.transcoded`, e.g. "exif-6,jpeg95" or "from-png,16-bit,alpha-on-white,jpeg95". One decoder for pixels
(OpenCV, which checks PNG CRCs, scales 16 bits and notices cut files), Pillow for headers, CMYK, WebP, GIF and BMP.
Colour profiles are not applied. The same bytes come out on every run.
"""

import hashlib
import io
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from pipeline.codec import ImageFormat, sniff
from pipeline.intake.png_chunks import PALETTE, PngHeader, read_chunks
from pipeline.intake.refusal import Refused
from pipeline.records import Sample

RGB = NDArray[np.uint8]
"""uint8 (h, w, 3), upright."""

MAX_PIXELS = 64_000_000
JPEG_SIDE = 65_500
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
NAMES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
ORIENTATION = 0x0112
ENCODERS: dict[str, tuple[str, list[int]]] = {
    "jpg": (
        "jpeg95",
        [
            cv2.IMWRITE_JPEG_QUALITY,
            95,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ],
    ),
    "png": ("png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An image fit to be stored. `size_hw` is of the upright pixels, `sha256` of the bytes as received."""

    image: bytes
    size_hw: tuple[int, int]
    sha256: str
    transcoded: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the first look at an image says. `orientation` is EXIF 1-8, or 0 when its EXIF cannot be read.

    `has_exif` says that there may be some EXIF, well-formed or not.
    """

    format: str
    mode: str
    size_hw: tuple[int, int]
    orientation: int
    has_exif: bool
    png: PngHeader | None
    animated: bool
    transparent: bool


def admit(data: bytes, image_format: ImageFormat, *, max_pixels: int = MAX_PIXELS) -> Admitted:
    """Prove that `data` is one whole image and make it an upright 8-bit grey or RGB `image_format`.

    Several frames give the first; alpha is composited over white; 16 bits are scaled, not clipped.

    Raises:
        Refused: image-empty, image-format (not one of FORMATS, or a side too long for JPEG), image-bomb (more than
            `max_pixels`, from the header alone), image-truncated or image-corrupt.
    """
    header = probe(data, max_pixels=max_pixels)
    causes = _causes(header, image_format)
    pixels = _pixels(data, header)
    if header.has_exif and not causes and not _stands_for_all(data):
        causes = ["exif-unreadable"]
    stored = data
    if causes:
        pixels = np.ascontiguousarray(upright(pixels, header.orientation))
        stored = _encode(pixels, image_format)
        causes.append(ENCODERS[image_format][0])
    return Admitted(
        image=stored,
        size_hw=(pixels.shape[0], pixels.shape[1]),
        sha256=hashlib.sha256(data).hexdigest(),
        transcoded=",".join(causes),
    )


def read_pixels(data: bytes, *, max_pixels: int = MAX_PIXELS) -> RGB:
    """RGB uint8 (h, w, 3), upright, of bytes that are not to be stored. Raises Refused as `admit` does."""
    header = probe(data, max_pixels=max_pixels)
    return np.ascontiguousarray(upright(_pixels(data, header), header.orientation))


def probe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header of an image without decoding its pixels. Raises Refused as `admit` does."""
    if not data:
        raise Refused("image-empty", "0 bytes")
    png = read_chunks(data) if sniff(data) == "png" else None
    with _opened(data) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise Refused(
                "image-bomb", f"{width}x{height} pixels declared; at most {max_pixels} are decoded"
            )
        assert image.format is not None
        name = NAMES[image.format]
        return Header(
            format=name,
            mode=image.mode,
            size_hw=(height, width),
            orientation=1 if png and not png.says_orientation else _orientation(image),
            has_exif=png.says_orientation if png else "exif" in image.info,
            png=png,
            animated=png.animated if png else name != "jpg" and getattr(image, "n_frames", 1) > 1,
            transparent=png.transparent if png else image.has_transparency_data,
        )


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation to (h, w) or (h, w, 3) pixels; 0 and 1 change nothing. EXIF 2.32, tag 0x0112."""
    if orientation >= 5:  # the first stored row is a column of the picture
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def decode(data: bytes | memoryview) -> RGB:
    """Admitted bytes to RGB uint8 (h, w, 3), as they stand.

    Raises:
        ValueError: the bytes are no longer a readable JPEG or PNG.
    """
    pixels = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError(
            f"image of {len(data)} bytes does not decode; it was changed after admission"
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


class UnitImages:
    """Decoded images of a unit, at most `limit` at a time, each decoded once while it is remembered.

    Implements `pipeline.stage.Images`; the arrays are read-only. Keyed by `image_sha256`, so that samples which
    share a photograph share its pixels.
    """

    def __init__(self, *, limit: int = 16) -> None:
        assert limit >= 1, limit
        self._limit = limit
        self._kept: OrderedDict[str, RGB] = OrderedDict()

    def __call__(self, sample: Sample) -> RGB:
        key = sample.source.image_sha256
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            pixels = decode(sample.image)
            pixels.flags.writeable = False
            self._kept[key] = pixels
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        pixels = self._kept[key]
        if pixels.shape[:2] != sample.size_hw:
            raise ValueError(
                f"sample {sample.id!r} says {sample.size_hw} (h, w), its image decodes to {pixels.shape[:2]}"
            )
        return pixels


def _opened(data: bytes) -> ImageFile.ImageFile:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pixel limit here is stricter than Pillow's
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Refused("image-bomb", str(error)) from error
    except Image.UnidentifiedImageError as error:
        if sniff(data) != "unknown":
            raise Refused("image-corrupt", "the header is cut or damaged") from error
        known = ", ".join(FORMATS)
        detail = f"{len(data)} bytes starting {data[:8]!r} are none of {known}"
        raise Refused("image-format", detail) from error
    except Exception as error:  # Pillow's parsers raise half a dozen types on damaged headers
        raise Refused("image-corrupt", f"header: {error}") from error


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of some damage and raises on other
            value = image.getexif().get(ORIENTATION, 1)
    except (
        Exception
    ):  # EXIF is written by all kinds of devices; unreadable EXIF is dropped by transcoding
        return 0
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _causes(header: Header, image_format: ImageFormat) -> list[str]:
    """Why the bytes cannot stay as received; empty when they can."""
    causes = [] if header.format == image_format else [f"from-{header.format}"]
    if header.animated:
        causes.append("first-frame")
    if header.mode == "CMYK":
        causes.append("cmyk")
    if (header.png and header.png.colour == PALETTE) or header.format == "gif":
        causes.append("palette")
    elif header.png and header.png.depth != 8:
        causes.append(f"{header.png.depth}-bit")
    if header.transparent:
        causes.append("alpha-on-white")
    if header.orientation != 1:
        causes.append(f"exif-{header.orientation}" if header.orientation else "exif-unreadable")
    return causes


def _pixels(data: bytes, header: Header) -> RGB:
    """RGB uint8 (h, w, 3) as stored, before orientation; proves that all pixels are there."""
    if header.png or (header.format == "jpg" and header.mode != "CMYK"):
        flags = cv2.IMREAD_UNCHANGED if header.png else cv2.IMREAD_COLOR
        read = _imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
        if not header.png:
            _load(data)  # older OpenCVs fill a cut JPEG with grey; Pillow says that it is cut
        if read is None:
            raise Refused("image-corrupt", f"{header.format} does not decode")
        pixels = _rgb(read)
    else:
        pixels = _on_white(np.asarray(_load(data).convert("RGBA"), np.uint8))
    if pixels.shape[:2] != header.size_hw:
        raise Refused(
            "image-corrupt", f"header says {header.size_hw} (h, w), pixels are {pixels.shape[:2]}"
        )
    return pixels


def _stands_for_all(data: bytes) -> bool:
    """Whether OpenCV, which may turn by EXIF that Pillow gives up on, reads the image as it stands too."""
    turned = _imdecode(data, cv2.IMREAD_COLOR)
    still = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return turned is not None and np.array_equal(turned, still)


def _load(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            image.load()
            return image
    except Exception as error:
        cut = "truncated" in str(error) or "end of file" in str(error).lower()
        raise Refused("image-truncated" if cut else "image-corrupt", str(error)) from error


def _imdecode(data: bytes | memoryview, flags: int) -> Any:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _rgb(read: Any) -> RGB:
    """OpenCV's grey, BGR or BGRA of 8 or 16 bits to RGB uint8."""
    if read.dtype == np.uint16:
        read = ((read.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if read.ndim == 2:
        return np.asarray(cv2.cvtColor(read, cv2.COLOR_GRAY2RGB), np.uint8)
    if read.shape[2] == 4:
        return _on_white(np.asarray(cv2.cvtColor(read, cv2.COLOR_BGRA2RGBA), np.uint8))
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)


def _on_white(rgba: NDArray[np.uint8]) -> RGB:
    alpha = rgba[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    mixed = rgba[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)


def _encode(pixels: RGB, image_format: ImageFormat) -> bytes:
    if image_format == "jpg" and max(pixels.shape[:2]) > JPEG_SIDE:
        raise Refused(
            "image-format",
            f"{pixels.shape[:2]} (h, w) is longer than JPEG's {JPEG_SIDE}; use image_format png",
        )
    _, options = ENCODERS[image_format]
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, coded = cv2.imencode(f".{image_format}", bgr, options)
    assert done, pixels.shape
    return coded.tobytes()
