"""Pictures of every kind that the decoder takes or refuses, made in memory."""

from __future__ import annotations

import io
import random
import struct
import zlib

from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def drawing(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    """A picture no two corners of which are alike, smooth enough for lossy formats."""
    image = Image.linear_gradient("L").resize((width, height))
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    picture = Image.merge("RGB", (image, across, Image.new("L", (width, height), 90)))
    picture.paste((250, 240, 20), (0, 0, width // 3, height // 3))
    return picture if mode == "RGB" else picture.convert(mode)


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured clouds: as smooth and as hard to compress as a photograph, roughly."""
    random_bytes = random.Random(seed).randbytes((width // 8 + 1) * (height // 8 + 1) * 3)
    small = Image.frombytes("RGB", (width // 8 + 1, height // 8 + 1), random_bytes)
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    before: bytes = b"",
) -> bytes:
    """A PNG from its parts; `rows` with a filter byte before each, `before` stands before IDAT."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return PNG_MAGIC + chunk(b"IHDR", header) + before + pixels


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header announces any size."""
    return png(width, height, 8, 2, bytes(10_000))


def gif_claiming(width: int, height: int, canvas: int = 1) -> bytes:
    """A GIF with a small canvas and a first frame that reaches far beyond it."""
    head = b"GIF89a" + struct.pack("<HHBBB", canvas, canvas, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return head + frame + b"\x02\x02\x44\x01\x00;"


def bmp_claiming(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + header + bytes(64)


def webp_claiming(width: int, height: int) -> bytes:
    """A WebP with an extended header, the largest canvas of which is 2^24 each way."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + sizes
    inner = encode(drawing(), "WEBP", lossless=True)[12:]
    body = b"WEBP" + extended + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width: int, height: int, bits: int, pixels: bytes, length: int | None = None) -> bytes:
    """An uncompressed grey TIFF of one strip; `length` is what it says that the strip has."""
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, height), (279, len(pixels) if length is None else length))  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


def tiff_claiming(width: int, height: int) -> bytes:
    return tiff(width, height, 8, b"", min(width * height, 2**32 - 1))


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(encode(drawing(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)
