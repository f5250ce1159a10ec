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
     "data:image/svg+xml;charset=utf-8;base64,QUJD"],
)  # fmt: skip
def test_the_media_type_does_not_matter(text: str) -> None:
    source = parse_url(text, param=PARAM)
    assert isinstance(source, EncodedSource)
    assert source.decode() == b"ABC"


@pytest.mark.parametrize(
    "text",
    ["data:", "data:,", "data:image/png", "data:image/png,QUJD", "data:image/png;base64",
     "data:image/png;base64 ,QUJD", "data:image/png;base64;QUJD", "data:QUJD",
     "data:" + "x" * 300 + ";base64,QUJD", "picture.jpg", "../../etc/passwd", "/etc/passwd", ""],
)  # fmt: skip
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(text, param=PARAM)
    assert caught.value.param == PARAM


@pytest.mark.parametrize("text", ["file:///etc/passwd", "ftp://a.example/", "http://127.1/"])
def test_a_blocked_url_names_its_field(text: str) -> None:
    with pytest.raises(UrlBlocked) as caught:
        parse_url(text, param=PARAM)
    assert caught.value.param == PARAM


@pytest.mark.parametrize(
    "text",
    ["Q", "QU", "QUJ", "QUJDR", "QUI", "QUI==", "QUJD====", "=QUJ", "QU=I", "QUJD\n", " QUJD",
     "QU JD", "QU-_", "QUJD%3D", "QUJDé", "QUJD\0", "@@@@", "QQ==QQ=="],
)  # fmt: skip
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(InvalidRequest):
        EncodedSource(text, PARAM).decode()


@given(st.binary(max_size=200))
def test_base64_comes_back(data: bytes) -> None:
    source = EncodedSource(base64.b64encode(data).decode(), PARAM)
    assert source.decode() == data
    assert source.size == len(data)


def test_the_size_is_known_before_decoding() -> None:
    assert EncodedSource("!" * 400, PARAM).size == 300


def test_pictures_are_not_shown_in_representations() -> None:
    for source in (parse_base64("QUJD", param=PARAM), uploaded(b"ABC", param=PARAM)):
        assert "QUJD" not in repr(source)
        assert "ABC" not in repr(source)
