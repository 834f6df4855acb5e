"""Admission of images: what stays as received, what is transcoded, what is refused, and at what price."""

import hashlib
import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.intake.images import UnitImages, admit, decode, upright
from pipeline.intake.png_chunks import SIGNATURE
from pipeline.intake.refusal import Refused
from pipeline.records import Sample, SourceRef

HEIGHT, WIDTH = 32, 48


def picture() -> np.ndarray:
    """Four flat quadrants of different colours, so that any wrong turn shows: uint8 (32, 48, 3)."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[: HEIGHT // 2, : WIDTH // 2] = (220, 30, 40)
    rgb[: HEIGHT // 2, WIDTH // 2 :] = (30, 200, 60)
    rgb[HEIGHT // 2 :, : WIDTH // 2] = (40, 60, 210)
    rgb[HEIGHT // 2 :, WIDTH // 2 :] = (240, 240, 90)
    return rgb


def red(rgb: np.ndarray) -> np.ndarray:
    """The boolean mask of the red quadrant, the object of these tests."""
    return (rgb[..., 0] > 150) & (rgb[..., 1] < 110) & (rgb[..., 2] < 130)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(**options: object) -> bytes:
    return saved(Image.fromarray(picture()), "JPEG", quality=95, subsampling=0, **options)


def png(**options: object) -> bytes:
    return saved(Image.fromarray(picture()), "PNG", **options)


def reason(data: bytes, image_format: str = "jpg", **options: int) -> str:
    with pytest.raises(Refused) as caught:
        admit(data, image_format, **options)  # pyright: ignore[reportArgumentType]
    return caught.value.reason


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 4.0) -> bool:
    return float(np.abs(a.astype(int) - b.astype(int)).mean()) < tolerance


def test_a_good_jpeg_stays_as_received():
    data = jpeg()
    got = admit(data, "jpg")
    assert (got.image, got.transcoded, got.size_hw) == (data, "", (HEIGHT, WIDTH))
    assert got.sha256 == hashlib.sha256(data).hexdigest()
    assert close(decode(got.image), picture())


def test_a_good_png_stays_as_received_in_a_png_dataset():
    data = png()
    got = admit(data, "png")
    assert (got.image, got.transcoded) == (data, "")
    assert (decode(got.image) == picture()).all()


def test_grey_stays_as_received_and_decodes_to_three_equal_channels():
    grey = Image.fromarray(picture()).convert("L")
    for form, image_format in (("JPEG", "jpg"), ("PNG", "png")):
        data = saved(grey, form)
        got = admit(data, image_format)  # pyright: ignore[reportArgumentType]
        rgb = decode(got.image)
        assert got.image == data
        assert rgb.shape == (HEIGHT, WIDTH, 3)
        assert (rgb[..., 0] == rgb[..., 1]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_every_exif_orientation_gives_the_same_upright_picture_and_mask(
    form: str, orientation: int
):
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = np.ascontiguousarray(upright(picture(), inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(
        Image.fromarray(stored),
        form,
        exif=exif,
        **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}),
    )
    image_format = "jpg" if form == "JPEG" else "png"
    got = admit(data, image_format)  # pyright: ignore[reportArgumentType]

    rgb = decode(got.image)
    seen, wanted = red(rgb), red(picture())
    assert got.size_hw == (HEIGHT, WIDTH) == rgb.shape[:2]
    assert (seen & wanted).sum() == (seen | wanted).sum(), "mask IoU is not 1"
    encoder = "jpeg95" if form == "JPEG" else "png"
    assert got.transcoded == ("" if orientation == 1 else f"exif-{orientation},{encoder}")
    by_pillow = Image.open(io.BytesIO(got.image))  # no reader turns the stored bytes again
    by_opencv = cv2.imdecode(np.frombuffer(got.image, np.uint8), cv2.IMREAD_COLOR)
    assert by_pillow.getexif().get(0x0112, 1) == 1
    assert by_opencv is not None
    assert (by_opencv[..., ::-1] == rgb).all()


def test_upright_agrees_with_pillow():
    from PIL import ImageOps

    for orientation in range(1, 9):
        image = Image.fromarray(picture())
        image.getexif()[0x0112] = orientation
        assert (np.asarray(ImageOps.exif_transpose(image)) == upright(picture(), orientation)).all()


def test_unreadable_exif_is_dropped_and_nonsense_orientations_mean_upright():
    broken = jpeg(exif=b"Exif\x00\x00MM\x00\x2a\x00\x00")
    got = admit(broken, "jpg")
    assert got.size_hw == (HEIGHT, WIDTH)
    exif = Image.Exif()
    exif[0x0112] = 77
    assert admit(jpeg(exif=exif), "jpg").transcoded == ""


def test_exif_that_only_some_decoders_can_read_is_dropped():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(exif=exif)
    broken = data.replace(
        b"Exif\x00\x00MM\x00", b"Exif\x00\x00M\xde\x00"
    )  # Pillow: no EXIF, OpenCV: turned
    assert broken != data
    got = admit(broken, "jpg")
    assert got.transcoded == "exif-unreadable,jpeg95"
    assert got.size_hw == (HEIGHT, WIDTH)
    assert close(decode(got.image), picture())


def test_cmyk_becomes_rgb_and_says_so():
    got = admit(saved(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95), "jpg")
    assert got.transcoded == "cmyk,jpeg95"
    assert close(decode(got.image), picture(), 6)


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(8, axis=0)
    got = admit(saved(Image.fromarray(ramp), "PNG"), "png")
    assert got.transcoded == "16-bit,png"
    assert (decode(got.image)[0, :, 0] == np.arange(256)).all()


def test_sixteen_bit_colour_with_alpha_is_scaled_and_laid_on_white():
    bgra = np.zeros((2, 2, 4), np.uint16)
    bgra[0] = (0, 0, 65535, 65535)
    done, coded = cv2.imencode(".png", bgra)
    assert done
    got = admit(coded.tobytes(), "png")
    assert got.transcoded == "16-bit,alpha-on-white,png"
    assert decode(got.image)[:, 0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_a_palette_gives_its_colours():
    got = admit(saved(Image.fromarray(picture()).quantize(16), "PNG"), "png")
    assert got.transcoded == "palette,png"
    assert close(decode(got.image), picture())


def test_a_transparent_palette_is_laid_on_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([200, 0, 0, 0, 0, 200])
    got = admit(saved(image.convert("P"), "PNG", transparency=1), "png")
    assert "alpha-on-white" in got.transcoded
    assert decode(got.image)[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_over_white_and_says_so(mode: str):
    image = Image.fromarray(picture()).convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 10, 10))
    alpha.paste(128, (10, 0, 20, 10))
    image.putalpha(alpha)
    got = admit(saved(image, "PNG"), "png")
    rgb = decode(got.image)
    assert got.transcoded == "alpha-on-white,png"
    assert (rgb[:10, :10] == 255).all()
    base = np.asarray(Image.fromarray(picture()).convert(mode[:-1]).convert("RGB"))
    assert np.allclose(rgb[0, 12], base[0, 12] * (128 / 255) + 255 * (127 / 255), atol=1)
    assert (rgb[20:] == base[20:]).all()


def test_one_bit_becomes_black_and_white():
    bits = red(picture())
    got = admit(saved(Image.fromarray(bits), "PNG"), "png")
    assert got.transcoded == "1-bit,png"
    assert (decode(got.image)[..., 0] == bits * 255).all()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_kept(form: str):
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    got = admit(data, "png")
    assert "first-frame" in got.transcoded
    assert close(decode(got.image), picture())


@pytest.mark.parametrize(
    ("form", "said"), [("WEBP", "from-webp"), ("PNG", "from-png"), ("BMP", "from-bmp")]
)
def test_other_formats_become_jpeg_once_and_say_so(form: str, said: str):
    got = admit(saved(Image.fromarray(picture()), form), "jpg")
    assert got.transcoded == f"{said},jpeg95"
    assert close(decode(got.image), picture(), 6)


def test_transcoding_gives_the_same_bytes_every_time():
    assert admit(png(), "jpg") == admit(png(), "jpg")


def test_no_bytes_and_no_image_are_told_apart():
    assert reason(b"") == "image-empty"
    assert reason(b"<html>404 not found</html>") == "image-format"
    assert reason(b"\xff\xd8\xff\xe0") == "image-corrupt"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_refused(progressive: bool):
    data = jpeg(progressive=progressive)
    for cut in [*range(1, len(data) - 8, 37), *range(len(data) - 8, len(data))]:
        assert reason(data[:cut]) in {"image-truncated", "image-corrupt", "image-format"}
    assert reason(data[: len(data) * 9 // 10]) == "image-truncated"


def test_a_png_cut_anywhere_is_refused_even_in_its_last_bytes():
    data = png()
    assert {reason(data[:cut], "png") for cut in range(len(SIGNATURE), len(data))} == {
        "image-truncated"
    }


def test_one_flipped_byte_never_crashes_and_is_always_noticed_in_a_png():
    data = bytearray(png())
    for at in range(len(data)):
        data[at] ^= 0x41
        assert reason(bytes(data), "png").startswith("image-")
        data[at] ^= 0x41


def test_one_flipped_byte_in_a_jpeg_is_refused_or_read_never_worse():
    data, generator, refused = bytearray(jpeg()), np.random.default_rng(0), 0
    for at in generator.choice(len(data), 200, replace=False):
        data[at] ^= int(generator.integers(1, 256))
        try:
            admit(bytes(data), "jpg")
        except Refused:
            refused += 1
        data = bytearray(jpeg())
    assert refused > 0


@pytest.mark.parametrize("form", ["GIF", "WEBP", "BMP"])
def test_other_formats_cut_short_are_refused(form: str):
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), form)
    assert reason(data[: len(data) * 2 // 3]) in {"image-truncated", "image-corrupt"}


def test_the_pixel_limit_is_a_parameter_and_is_read_from_the_header():
    assert reason(png(), max_pixels=HEIGHT * WIDTH - 1) == "image-bomb"
    assert admit(png(), "png", max_pixels=HEIGHT * WIDTH).transcoded == ""


def bomb_png(side: int) -> bytes:
    """A whole, valid, black `side` x `side` RGB PNG of a few hundred kilobytes."""
    packer = zlib.compressobj(9)
    line = bytes(1 + 3 * side)
    pixels = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    return (
        SIGNATURE
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb_webp(side: int) -> bytes:
    """An animated WebP whose canvas is declared `side` x `side`."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif"])
def test_a_bomb_is_refused_without_the_memory_it_asks_for(kind: str, tmp_path):
    """225 megapixels would be 675 MB; the refusal may raise the peak of a fresh process by 40 MB at most."""
    if kind == "png":
        data = bomb_png(15_000)
        assert len(data) < 1_000_000
    elif kind == "jpg":
        good = bytearray(jpeg())
        at = good.index(b"\xff\xc0") + 5
        good[at : at + 4] = struct.pack(">HH", 15_000, 15_000)
        data = bytes(good)
    elif kind == "webp":
        data = bomb_webp(15_000)
    else:
        gif = bytearray(saved(Image.fromarray(picture()), "GIF"))
        gif[6:10] = struct.pack("<HH", 15_000, 15_000)
        data = bytes(gif)
    (tmp_path / "bomb").write_bytes(data)
    code = """
import resource, sys
from pipeline.intake.images import admit
from pipeline.intake.refusal import Refused
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    admit(data, "jpg")
except Refused as error:
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(error.reason, round(grown))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bomb")],
        capture_output=True,
        text=True,
        check=True,
    )
    said, grown = done.stdout.split()
    assert said == "image-bomb"
    assert int(grown) < 40


def test_a_side_too_long_for_jpeg_is_refused_with_the_way_out():
    strip = saved(Image.new("L", (70_000, 1)), "PNG")
    with pytest.raises(Refused, match="use image_format png"):
        admit(strip, "jpg")
    assert admit(strip, "png").size_hw == (1, 70_000)


def sample(data: bytes, size_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> Sample:
    got = admit(data, "png")
    source = SourceRef(
        dataset="d", split="train", key="k", licence="", url="", image_sha256=got.sha256
    )
    return Sample(
        id="a", image=got.image, size_hw=size_hw, instructions=("the red one",), source=source
    )


def test_a_unit_decodes_a_shared_image_once_and_read_only():
    images = UnitImages()
    first, second = images(sample(png())), images(sample(png()))
    assert first is second
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 0


def test_a_unit_forgets_the_oldest_image():
    images = UnitImages(limit=1)
    first = images(sample(png()))
    images(sample(png(compress_level=0)))
    assert images(sample(png())) is not first


def test_an_image_of_another_size_than_its_sample_is_an_error():
    with pytest.raises(ValueError, match=r"'a' says \(5, 5\)"):
        UnitImages()(sample(png(), (5, 5)))
    with pytest.raises(ValueError, match="does not decode"):
        decode(b"not an image")
