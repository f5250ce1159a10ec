"""What clients send, told apart."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import InvalidRequest, UrlBlocked
from silkline.ingress.source import (
    EncodedSource,
    UploadSource,
    UrlSource,
    parse_base64,
    parse_url,
    uploaded,
)

PARAM = "messages.0.image_url"


def test_the_three_kinds() -> None:
    remote = parse_url("https://a.example/b.jpg", param=PARAM)
    assert isinstance(remote, UrlSource)
    assert (remote.url.host, remote.param) == ("a.example", PARAM)
    assert parse_url("data:image/png;base64,QUJD", param=PARAM) == EncodedSource("QUJD", PARAM)
    assert parse_base64("QUJD", param=PARAM) == EncodedSource("QUJD", PARAM)
    assert uploaded(b"ABC", param=PARAM) == UploadSource(b"ABC", PARAM)


@pytest.mark.parametrize(
    "text",
    ["DATA:IMAGE/PNG;BASE64,QUJD", "data:;base64,QUJD", "data:text/html;base64,QUJD",
     "data:image/svg+xml;charset=utf-8;base64,QUJD", "data:image/jpg;base64,QUJD",
     "data:image/png;name=a%20b.png;base64,QUJD", 'data:image/png;name="a,b.png";base64,QUJD',
     "data:image/png;charset=utf-8;name=x;base64,QUJD", "data:image/png; base64,QUJD",
     "data:image/png;base64 ,QUJD", " data:image/png;base64,QUJD", "\n\tdata:;base64,\nQUJD\n",
     "data:image/png;name=" + "%E5%9B%BE" * 100 + ";base64,QUJD",
     "data:image/png,%41BC", "data:,A%42C", "data:image/png;name=x.png,AB%43"],
)  # fmt: skip
def test_the_media_type_does_not_matter(text: str) -> None:
    for source in (parse_url(text, param=PARAM), parse_base64(text, param=PARAM)):
        assert isinstance(source, EncodedSource | UploadSource)
        assert (
            source.decode().data if isinstance(source, EncodedSource) else source.data
        ) == b"ABC"


@pytest.mark.parametrize(
    "text",
    ["data:", "data:,", "data:image/png", "data:image/png,QUJD", "data:image/png;base64",
     "data:image/png;base64;QUJD", "data:QUJD", "data:image/png;base32,QUJD",
     "data:" + "x" * 3000 + ";base64,QUJD"],
)  # fmt: skip
def test_a_data_url_without_base64_is_told_what_it_lacks(text: str) -> None:
    for parse in (parse_url, parse_base64):
        with pytest.raises(InvalidRequest) as caught:
            parse(text, param=PARAM)
        assert caught.value.param == PARAM
        assert "data:image/jpeg;base64," in caught.value.message


@pytest.mark.parametrize("text", ["picture.jpg", "../../etc/passwd", "/etc/passwd", "", "QUJD"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(text, param=PARAM)
    assert caught.value.param == PARAM
    assert "data:image/jpeg;base64," in caught.value.message


@pytest.mark.parametrize("text", ["https://a.example/b.jpg", "file:///a.jpg"])
def test_a_url_in_the_place_of_base64_is_told_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_base64(text, param="image_base64")
    assert (caught.value.message, caught.value.param) == (
        "The image is a URL, but Base64 was expected. Send a URL as image_url.",
        "image_base64",
    )


@pytest.mark.parametrize("text", ["file:///etc/passwd", "ftp://a.example/", "http://127.1/"])
def test_a_blocked_url_names_its_field(text: str) -> None:
    with pytest.raises(UrlBlocked) as caught:
        parse_url(text, param=PARAM)
    assert caught.value.param == PARAM


SPACE, SAFE, PERCENT, PADDING = "white_space", "url_safe_alphabet", "percent_encoding", "padding"
MENDED = {
    "QUJD\n": (b"ABC", (SPACE,)),
    "\r\n QU\tJD\f\v": (b"ABC", (SPACE,)),
    "QU\nI=\n": (b"AB", (SPACE,)),
    "QUI =": (b"AB", (SPACE,)),
    "QUI": (b"AB", (PADDING,)),
    "QQ": (b"A", (PADDING,)),
    "QQ\n": (b"A", (SPACE, PADDING)),
    "--__": (b"\xfb\xef\xff", (SAFE,)),
    "+-/_": (b"\xfb\xef\xff", (SAFE,)),
    "-_8=": (b"\xfb\xff", (SAFE,)),
    "-_8": (b"\xfb\xff", (SAFE, PADDING)),
    "QUJD%0A": (b"ABC", (SPACE, PERCENT)),
    "QQ%3D%3d": (b"A", (PERCENT,)),
    "%2B%2F8=": (b"\xfb\xff", (PERCENT,)),
}


@pytest.mark.parametrize("text", MENDED)
def test_base64_in_other_forms(text: str) -> None:
    assert EncodedSource(text, PARAM).decode() == MENDED[text]
    with pytest.raises(InvalidRequest) as caught:
        EncodedSource(text, PARAM).decode(strict=True)
    assert "strict_base64" in caught.value.message


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Q", "is truncated"),
        ("QUJDR", "is truncated"),
        ("QUI==", "is padded"),
        ("QUJD====", "is padded"),
        ("QUJD=", "is padded"),
        ("Q=", "is truncated"),
        ("=QUJ", "contains '='"),
        ("QU=I", "contains '='"),
        ("QQ==QQ==", "contains '='"),
        ("QUJDé", "contains 'é'"),
        ("QUJD\0", "contains '\\x00'"),
        ("@@@@", "contains '@'"),
        ("QUJD%", "contains '%'"),
        ("QUJD\ud800", "contains"),
        ("QU\u00a0JD", "contains '\\xa0'"),
        ("QUJD%zz", "contains '%'"),
        ("====", "is padded"),
        ("=", "is padded"),
    ],
)
def test_what_is_no_base64_is_told(text: str, wrong: str) -> None:
    for strict in (False, True):
        with pytest.raises(InvalidRequest) as caught:
            EncodedSource(text, PARAM).decode(strict=strict)
        if not strict:
            assert wrong in caught.value.message, caught.value.message


@given(st.binary(max_size=200), st.integers(1, 80), st.booleans(), st.booleans())
def test_base64_in_lines_comes_back(data: bytes, width: int, url_safe: bool, padded: bool) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    lines = "\r\n".join(text[start : start + width] for start in range(0, len(text), width))
    source = EncodedSource(lines, PARAM)
    assert source.decode().data == data
    assert source.size >= len(data)
    assert not source.exceeds(len(data))
    assert data == b"" or source.exceeds(len(data) - 1)


@given(st.binary(max_size=200))
def test_base64_comes_back(data: bytes) -> None:
    source = EncodedSource(base64.b64encode(data).decode(), PARAM)
    assert source.decode().data == data
    assert source.size == len(data)


def test_the_size_is_known_before_decoding() -> None:
    assert EncodedSource("!" * 400, PARAM).size == 300


def test_pictures_are_not_shown_in_representations() -> None:
    for source in (parse_base64("QUJD", param=PARAM), uploaded(b"ABC", param=PARAM)):
        assert "QUJD" not in repr(source)
        assert "ABC" not in repr(source)
