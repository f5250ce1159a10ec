"""The grammar of picture URLs and the rules for hosts."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from silkline.config import FetchSettings
from silkline.errors import ConfigError, UrlBlocked
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


def test_what_is_ascii_goes_out_as_it_came() -> None:
    path = "/a%7eb/%E2%82%AC?sig=a%2bb%3D&x=+~(')*"
    assert parse(f"https://pictures.example{path}").url.raw_path_qs == path


def test_what_is_not_ascii_is_encoded() -> None:
    url = parse("https://pictures.example/图?a=é").url
    assert url.raw_path_qs == "/%E5%9B%BE?a=%C3%A9"


@given(st.text())
@example("http://[::1")
@example("http://ex\ud800ample.com/")
def test_any_text_is_a_url_or_blocked(text: str) -> None:
    for candidate in (text, f"http://{text}", f"https://a.example/{text}"):
        try:
            target = parse(candidate)
        except UrlBlocked:
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
        ("?page=2", "https://a.example/dir/a.jpg?page=2"),
        ("//b.example/c.jpg", "https://b.example/c.jpg"),
        ("https://b.example/c.jpg#d", "https://b.example/c.jpg"),
    ],
)
def test_redirects_are_resolved(location: str, expected: str) -> None:
    assert str(follow(parse("https://a.example/dir/a.jpg"), location).url) == expected


@pytest.mark.parametrize(
    "location",
    ["http://a.example/", "file:///etc/passwd", "javascript:alert(1)", "\\\\b.example/c",
     "//user@b.example/", "///b.example", "https:b.example", "//127.1/", "/a b", "/a\r\nX: y",
     "//[::1"],
)  # fmt: skip
def test_redirects_to_what_is_not_taken_are_blocked(location: str) -> None:
    with pytest.raises(UrlBlocked):
        follow(parse("https://a.example/dir/a.jpg"), location)


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
