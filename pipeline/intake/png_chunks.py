"""The chunks of a PNG file: proof that it is whole, and what its header says, before anything decodes it.

Decoders disagree about damage (Pillow reads a PNG without its last 16 bytes, and pixels whose CRC is wrong), so the
length and CRC of every chunk are checked here. PNG specification, third edition, sections 5.3 to 5.6 and 11.2.1.
"""

import struct
import zlib
from dataclasses import dataclass

from pipeline.intake.refusal import Refused

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE, ALPHA = 3, (4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class PngHeader:
    """What the chunks of a whole PNG say; `depth` is bits per channel, `colour` the colour type of IHDR."""

    depth: int
    colour: int
    names: frozenset[bytes]

    @property
    def transparent(self) -> bool:
        return self.colour in ALPHA or b"tRNS" in self.names

    @property
    def animated(self) -> bool:
        return b"acTL" in self.names

    @property
    def says_orientation(self) -> bool:
        """Whether some chunk may hold EXIF or XMP."""
        return bool(self.names & {b"eXIf", b"tEXt", b"zTXt", b"iTXt"})


def read_chunks(data: bytes) -> PngHeader:
    """Walk all chunks from the signature to IEND.

    Raises:
        Refused: image-truncated where the bytes end early, image-corrupt where a CRC or the order is wrong.
    """
    names: set[bytes] = set()
    depth = colour = 0
    at = len(SIGNATURE)
    while b"IEND" not in names:
        if at + 12 > len(data):
            raise Refused("image-truncated", f"PNG of {len(data)} bytes ends before its IEND chunk")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not name.isalpha():
            raise Refused("image-corrupt", f"PNG chunk at byte {at} has the name {name!r}")
        if end > len(data):
            raise Refused("image-truncated", f"PNG chunk {name.decode()} at byte {at} is cut")
        body = memoryview(data)[at + 4 : end - 4]
        if zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            raise Refused(
                "image-corrupt", f"PNG chunk {name.decode()} at byte {at} has a wrong CRC"
            )
        if not names and (name != b"IHDR" or length != 13):
            raise Refused("image-corrupt", "PNG does not begin with a 13-byte IHDR chunk")
        if name == b"IHDR":
            depth, colour = data[at + 16], data[at + 17]
        names.add(name)
        at = end
    if b"IDAT" not in names:
        raise Refused("image-corrupt", "PNG holds no IDAT chunk, so no pixels")
    return PngHeader(depth=depth, colour=colour, names=frozenset(names))
