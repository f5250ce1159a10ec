"""Formats are told from the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from silkline.errors import ImageFormat
from silkline.ingress.formats import FileFormat, sniff
from tests.ingress.pictures import drawing, encode


@pytest.mark.parametrize("kind", list(FileFormat))
def test_each_format_is_known(kind: FileFormat) -> None:
    assert sniff(encode(drawing(), kind)) is kind


def test_variants_are_known() -> None:
    assert features.check("avif")
    assert sniff(encode(drawing(), "TIFF", big_tiff=True)) is FileFormat.TIFF
    assert sniff(encode(drawing(mode="P"), "BMP")) is FileFormat.BMP
    assert sniff(encode(drawing(mode="RGBA"), "WEBP", lossless=True)) is FileFormat.WEBP
    frames = [drawing(), drawing(mode="L").convert("RGB")]
    for kind in (FileFormat.WEBP, FileFormat.GIF, FileFormat.PNG, FileFormat.AVIF):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert sniff(data) is kind
    mpo = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert sniff(mpo) is FileFormat.JPEG


OTHERS = {
    "empty": b"",
    "text": b"hello",
    "html": b"<!DOCTYPE html><html><img src=x></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "xml svg": b"<?xml version='1.0'?><svg/>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "dos eps": b"\xc5\xd0\xd3\xc6" + bytes(30),
    "pdf": b"%PDF-1.7\n",
    "psd": b"8BPS\x00\x01" + bytes(30),
    "fits": b"SIMPLE  =                    T",
    "fli": b"\x00\x01\x00\x00\x11\xaf\x01\x00" + bytes(120),
    "flc": b"\x00\x01\x00\x00\x12\xaf\x01\x00" + bytes(120),
    "cursor": b"\x00\x00\x02\x00\x01\x00" + bytes(20),
    "wmf": b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(20),
    "emf": b"\x01\x00\x00\x00" + bytes(36) + b" EMF",
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
    "jpeg xl": b"\xff\x0a" + bytes(20),
    "wave": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "avi": b"RIFF\x24\x00\x00\x00AVI LIST",
    "half a webp": b"RIFF\x24\x00\x00\x00WEBPXXXX",
    "bitmap's letters": b"BM, the company",
    "zip": b"PK\x03\x04" + bytes(30),
    "gzip": b"\x1f\x8b\x08" + bytes(30),
    "xpm": b"/* XPM */\nstatic char *x[] = {",
    "not quite png": b"\x89PNG\n\x1a\n" + bytes(30),
    "not quite gif": b"GIF88a" + bytes(30),
    "not quite jpeg": b"\xff\xd8\x00" + bytes(30),
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(ImageFormat):
        sniff(OTHERS[name])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "is empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "is HEIC"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\n<SVG xmlns=", "is SVG"),
        (b'{"image": 1}', "is JSON"),
        (b"<!DOCTYPE HTML><html>", "is a web page"),
    ],
)
def test_what_people_send_is_called_by_its_name(data: bytes, name: str) -> None:
    with pytest.raises(ImageFormat, match=name):
        sniff(data)


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "SGI", "DDS", "MSP", "XBM",
                                  "JPEG2000", "ICNS", "EPS", "PDF", "PALM"])  # fmt: skip
def test_other_formats_of_pillow_are_refused(kind: str) -> None:
    mode = {"MSP": "1", "XBM": "1", "PALM": "P"}.get(kind, "RGB")
    data = encode(Image.new(mode, (32, 32)), kind)
    with pytest.raises(ImageFormat):
        sniff(data)


def test_a_picture_behind_something_else_is_not_looked_for() -> None:
    """A polyglot is what its first bytes say."""
    with pytest.raises(ImageFormat):
        sniff(b"%PDF-1.7\n" + encode(drawing(), "JPEG"))
    with pytest.raises(ImageFormat):
        sniff(b" " + encode(drawing(), "PNG"))


@given(st.binary(max_size=64))
def test_any_bytes_have_a_format_or_none(data: bytes) -> None:
    try:
        kind = sniff(data)
    except ImageFormat:
        return
    assert kind in FileFormat
