"""The grammar of picture URLs and the rules for hosts."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from silkline.config import FetchSettings
from silkline.errors import ConfigError, InputError, InvalidRequest, UrlBlocked
from silkline.ingress.urls import HostRules, follow, parse

LEGITIMATE = {
    "http://pictures.example/a.jpg": ("pictures.example", 80),
    "https://pictures.example/a.jpg": ("pictures.example", 443),
    "https://pictures.example": ("pictures.example", 443),
    "https://pictures.example?id=1": ("pictures.example", 443),
    "https://pictures.example/#part": ("pictures.example", 443),
    "HTTPS://Pictures.Example/A.jpg": ("pictures.example", 443),
    "https://pictures.example:8443/a.jpg": ("pictures.example", 8443),
    "https://cdn-1.my_bucket.pictures.example/a.jpg": ("cdn-1.my_bucket.pictures.example", 443),
    "https://a.b.c.d.example/x?y=z&w=@:/": ("a.b.c.d.example", 443),
    "https://pictures.example/a%20b%2Fc.jpg?sig=a%2Bb%3D%3d": ("pictures.example", 443),
    "https://pictures.example/@user/[1](2).jpg": ("pictures.example", 443),
    "https://pictures.example/图片.jpg?标题=红": ("pictures.example", 443),
    "https://münchen.example/ä.jpg": ("xn--mnchen-3ya.example", 443),
    "https://商店.example/": ("xn--czrs0t.example", 443),
    "https://xn--mnchen-3ya.example/": ("xn--mnchen-3ya.example", 443),
    "https://1.1.1.1/a.jpg": ("1.1.1.1", 443),
    "http://93.184.216.34:8080/a.jpg": ("93.184.216.34", 8080),
    "https://[2606:4700::1111]/a.jpg": ("2606:4700::1111", 443),
    "https://[2606:4700:0:0:0:0:0:1111]:444/": ("2606:4700::1111", 444),
    "https://1password.example/": ("1password.example", 443),
    "https://e5.0x.example/": ("e5.0x.example", 443),
}


@pytest.mark.parametrize("text", LEGITIMATE)
def test_legitimate_urls_pass(text: str) -> None:
    target = parse(text)
    assert (target.host, target.port) == LEGITIMATE[text]
    assert HostRules(FetchSettings()).admit(target) is False


def test_characters_beyond_ascii_are_encoded_as_utf_8() -> None:
    url = parse("https://images.example/图?a=é&b=\u202f").url
    assert url.raw_path_qs == "/%E5%9B%BE?a=%C3%A9&b=%E2%80%AF"


SCHEMES = {
    "file:///a.jpg": "'file'", "file:a.jpg": "'file'", "FILE:///C:/a.jpg": "'file'",
    "ftp://a.example/a.jpg": "'ftp'", "gs://bucket/a.jpg": "'gs'", "s3://bucket/a.jpg": "'s3'",
    "javascript:alert(1)": "'javascript'", "blob:https://a.example/1": "'blob'",
    "cid:part1@a.example": "'cid'", "datas:image/png;base64,QQ==": "'datas'",
    "htps://a.example/a.jpg": "'htps'", "urn:isbn:1": "'urn'",
}  # fmt: skip


@pytest.mark.parametrize("text", SCHEMES)
def test_a_scheme_that_is_not_taken_is_named(text: str) -> None:
    with pytest.raises(UrlBlocked) as caught:
        parse(text)
    assert caught.value.message == (
        f"The image's URL has the scheme {SCHEMES[text]}; images are fetched by http and https "
        "only. Send an http or https URL, or the image itself as a data URL."
    )


WITHOUT_SCHEME = {
    "": "is empty", "/a.jpg": "path of a file", "./a.jpg": "path of a file",
    "../a.jpg": "path of a file", "~/a.jpg": "path of a file", "C:\\a.jpg": "path of a file",
    "c:/images/a.jpg": "path of a file", "\\\\host\\share\\a.jpg": "path of a file",
    "//a.example/a.jpg": "Put https: before it", "www.a.example/a.jpg": "Put https:// before it",
    "a.example": "Put https:// before it", "localhost:8000/a.jpg": "Put https:// before it",
    "a.example:8000": "Put https:// before it", "127.0.0.1:80?a": "Put https:// before it",
    "a.jpg": "has no scheme", " https://a.example/": "has no scheme",
    "/9j/4AAQSkZJRgABAQAA" + "A" * 80: "is Base64 without a prefix",
    "iVBORw0KGgoAAAANSUhEUgAA" + "A" * 80: "is Base64 without a prefix",
    "image/png;base64,iVBORw0KGgo=": "lacks 'data:'", ";base64,QQ==": "lacks 'data:'",
}  # fmt: skip


@pytest.mark.parametrize("text", WITHOUT_SCHEME)
def test_a_text_without_a_scheme_is_told_what_it_is(text: str) -> None:
    with pytest.raises(InvalidRequest, match=WITHOUT_SCHEME[text]):
        parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://a.example/a b", "has a space"),
        ("https://a.example/a\\b", "a backslash"),
        ("https://user@a.example/", "has a user name"),
        ("https://a.example@b.example/", "has a user name"),
        ("https:///a.jpg", "is malformed"),
        ("https://" + "a" * 9000, "is longer than 8192 characters"),
    ],
)
def test_a_url_that_is_not_taken_says_why(text: str, why: str) -> None:
    with pytest.raises(UrlBlocked, match=f"The image's URL.* {why}"):
        parse(text)


@given(st.text())
@example("http://[::1")
@example("http://ex\ud800ample.com/")
def test_any_text_is_a_url_or_blocked(text: str) -> None:
    for candidate in (text, f"http://{text}", f"https://a.example/{text}"):
        try:
            target = parse(candidate)
        except InputError:
            continue
        assert target.scheme in {"http", "https"}


HOSTISH = st.text("aA1.0xf:@/\\?#[]%-_é。 ", max_size=24)


@given(HOSTISH, HOSTISH)
def test_another_parser_reads_the_same_host(before: str, after: str) -> None:
    text = f"http://{before}{after}"
    try:
        target = parse(text)
    except UrlBlocked:
        return
    split = urlsplit(str(target.url))
    assert (split.hostname, split.port or 80) == (target.host, target.port)
    assert split.username is None
    if text.isascii() and target.address is None:
        assert urlsplit(text).hostname == target.host


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b.jpg", "https://a.example/b.jpg"),
        ("b.jpg", "https://a.example/dir/b.jpg"),
        ("../b.jpg?x=%2F", "https://a.example/b.jpg?x=%2F"),
        ("./b.jpg?x=../y", "https://a.example/dir/b.jpg?x=../y"),
        ("../../../b/.", "https://a.example/b/"),
        ("c/..", "https://a.example/dir/"),
        ("c//../b.jpg", "https://a.example/dir/c/b.jpg"),
        ("?page=2", "https://a.example/dir/a.jpg?page=2"),
        ("?", "https://a.example/dir/a.jpg?"),
        ("", "https://a.example/dir/a.jpg?v=/1"),
        ("#part", "https://a.example/dir/a.jpg?v=/1"),
        ("/x/../b.jpg?", "https://a.example/x/../b.jpg?"),
        ("/b%7e%2f.jpg?a=%2B+;&&", "https://a.example/b%7e%2f.jpg?a=%2B+;&&"),
        ("//b.example/c.jpg", "https://b.example/c.jpg"),
        ("//b.example?d", "https://b.example/?d"),
        ("https://b.example/c.jpg#d e", "https://b.example/c.jpg"),
        ("HTTPS://B.example:444/c.jpg", "https://b.example:444/c.jpg"),
        ("/my image.jpg?a=b c", "https://a.example/my%20image.jpg?a=b%20c"),
        ("my image.jpg", "https://a.example/dir/my%20image.jpg"),
        ("https://b.example/my image%20.jpg", "https://b.example/my%20image%20.jpg"),
        ("/图.jpg", "https://a.example/%E5%9B%BE.jpg"),
        ("https://münchen.example/ä b", "https://xn--mnchen-3ya.example/%C3%A4%20b"),
        ("/caf\udce9.jpg", "https://a.example/caf%E9.jpg"),  # Latin-1, as headers are read
    ],
)
def test_redirects_are_resolved(location: str, expected: str) -> None:
    assert str(follow(parse("https://a.example/dir/a.jpg?v=/1"), location).url) == expected


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://a.example/", "from https to http"),
        ("file:///etc/passwd", "the scheme 'file'"),
        ("javascript:alert(1)", "the scheme 'javascript'"),
        ("localhost:8000/a.jpg", "the scheme 'localhost'"),
        ("\\\\b.example/c", "a backslash"),
        ("/a\\b", "a backslash"),
        ("//user@b.example/", "has a user name"),
        ("https://user:word@b.example/", "has a user name"),
        ("///b.example", "is malformed"),
        ("https:b.example", "is malformed"),
        ("https:///b.example", "is malformed"),
        ("//127.1/", "is malformed"),
        ("https://a b.example/", "is malformed"),
        ("https://caf\udce9.example/", "is malformed"),
        ("/a\r\nX: y", "a control character"),
        ("/a\tb", "a control character"),
        ("//[::1", "is malformed"),
        ("/" + "x" * 9000, "is longer than"),
    ],
)
def test_an_error_about_a_redirect_says_that_it_is_the_redirect(location: str, why: str) -> None:
    with pytest.raises(UrlBlocked, match="The image's URL redirects") as caught:
        follow(parse("https://a.example/dir/a.jpg"), location)
    assert why in caught.value.message


def test_http_may_redirect_to_https() -> None:
    assert follow(parse("http://a.example/"), "https://a.example/").scheme == "https"


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("pictures.example", True),
        ("Pictures.Example", True),
        ("cdn.shop.example", True),
        ("a.b.shop.example", True),
        ("1.1.1.1", True),
        ("[2606:4700::1111]", True),
        ("shop.example", False),
        ("evilshop.example", False),
        ("shop.example.evil.example", False),
        ("a.pictures.example", False),
        ("1.1.1.2", False),
    ],
)
def test_only_allowed_hosts_pass(host: str, passes: bool) -> None:
    allowed = ("pictures.example", "*.shop.example", "1.1.1.1", "2606:4700::1111")
    rules = HostRules(FetchSettings(allowed_hosts=allowed))
    if passes:
        rules.admit(parse(f"https://{host}/"))
    else:
        with pytest.raises(UrlBlocked):
            rules.admit(parse(f"https://{host}/"))


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://127.0.0.1:9000/a", True),
        ("http://127.0.0.1:9001/a", False),
        ("http://127.0.0.2:9000/a", False),
        ("https://[::1]:9000/a", True),
        ("http://minio/a", True),
        ("https://minio/a", True),
        ("http://minio:8080/a", False),
    ],
)
def test_private_hosts_are_host_and_port(url: str, passes: bool) -> None:
    rules = HostRules(FetchSettings(private_hosts=("127.0.0.1:9000", "[::1]:9000", "MinIO")))
    if passes:
        assert rules.admit(parse(url)) is True
    else:
        with pytest.raises(UrlBlocked):
            rules.admit(parse(url))


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:1.1.1.1]", "router"])
def test_private_addresses_are_blocked_before_anything_is_dialled(host: str) -> None:
    with pytest.raises(UrlBlocked):
        HostRules(FetchSettings()).admit(parse(f"http://{host}/"))


def test_a_private_host_must_be_allowed_too() -> None:
    settings = FetchSettings(allowed_hosts=("a.example",), private_hosts=("127.0.0.1:9000",))
    with pytest.raises(UrlBlocked):
        HostRules(settings).admit(parse("http://127.0.0.1:9000/"))


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_hosts": ("https://a.example",)},
        {"allowed_hosts": ("a.*.example",)},
        {"allowed_hosts": ("*.127.0.0.1",)},
        {"allowed_hosts": ("",)},
        {"private_hosts": ("http://a.example",)},
        {"private_hosts": ("a.example:x",)},
        {"private_hosts": ("a.example:99999",)},
        {"private_hosts": ("127.1:80",)},
        {"private_hosts": ("[::1",)},
    ],
)
def test_malformed_hosts_in_the_settings_are_refused(settings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigError, match="is malformed; expected"):
        HostRules(FetchSettings.model_validate(settings))
