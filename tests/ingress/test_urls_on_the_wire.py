"""What an origin receives is what the client signed, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from silkline.config import FetchSettings
from silkline.ingress.fetch import Fetcher
from silkline.ingress.urls import parse
from tests.ingress.network import Hit, Names, gives, raw_origin, within

CAP = 1_000_000
HEX = "0123456789abcdefABCDEF"
UNRESERVED = "abzABZ019-._~"
SUB_DELIMS = "!$&'()*+,;="

ESCAPED = st.text(HEX, min_size=2, max_size=2).map("%{}".format)
PCHAR = ESCAPED | st.sampled_from(UNRESERVED + SUB_DELIMS + ":@") | st.sampled_from(["/", "."])
BEYOND = st.characters(min_codepoint=0x80, exclude_categories=["Cs"])
PATH = st.lists(PCHAR | BEYOND, max_size=24).map("".join)
QUERY = st.none() | st.lists(PCHAR | BEYOND | st.just("?"), max_size=24).map("".join)
FRAGMENT = st.sampled_from(["", "#", "#part?x=/"])


@dataclass
class Wire:
    """Origins on loopback that note the targets of requests, and a fetcher that may go there.

    Attributes:
        targets: The request targets that came, in order.
        location: Where the path `/moved` redirects to, as bytes of the header.
    """

    targets: list[str] = field(default_factory=list)
    location: bytes = b""

    async def respond(self, hit: Hit, writer: asyncio.StreamWriter) -> None:
        target = hit.line.removeprefix("GET ").removesuffix(" HTTP/1.1")
        if target == "/moved":
            head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
            writer.write(head + self.location + b"\r\n\r\n")
            return
        self.targets.append(target)
        await gives(b"x")(hit, writer)

    @asynccontextmanager
    async def fetching(self) -> AsyncIterator[tuple[Fetcher, str]]:
        async with raw_origin(self.respond) as origin:
            hosts = ("origin.test", "xn--mnchen-3ya.test")
            names = Names(**{host: [["127.0.0.1"]] for host in hosts})
            private = tuple(f"{host}:{origin.port}" for host in hosts)
            async with Fetcher(FetchSettings(private_hosts=private), names) as fetcher:
                yield fetcher, f"http://origin.test:{origin.port}"


async def received(url: str, location: bytes = b"") -> str:
    """The target that an origin got for a URL; `{base}` is its scheme, host and port."""
    wire = Wire()
    async with wire.fetching() as (fetcher, base):
        wire.location = location.replace(b"{base}", base.encode())
        await fetcher.fetch(parse(url.replace("{base}", base)), CAP, within(CAP))
    (target,) = wire.targets
    return target


def sent(text: str) -> str:
    """A target with what is not ASCII encoded, and nothing else."""
    return "".join(one if one.isascii() else quote(one) for one in text)


SIGNED = [
    ("/bucket/a%2Fb%7Ec.jpg?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20260101%2F"
    "us-east-1%2Fs3%2Faws4_request&X-Amz-SignedHeaders=host%3Brange&X-Amz-Signature=0aF%2f"),
    "/bucket/a+b%20c.jpg?GoogleAccessId=x%40y.iam.gserviceaccount.com&Expires=1&Signature=a%2Bb/c=",
    "/container/a.jpg?sv=2026-01-01&sig=a%2bb%2Fc%3D&se=2026-01-01T00%3A00%3A00Z&sp=r",
    "/a.jpg?Policy=eyJ~_&Signature=Ab-~_&Key-Pair-Id=K1",
    "/圖/a%2fb%7e.jpg?sig=%2F%2f+%2B;é",
    "/a/../b/./c//d.jpg?x=../y", "//a.jpg", "/a.jpg?", "/?", "/a?b?c=//d", "/%", "/%zz?%2",
    "/[1]{2}|\"<>^`.jpg", "/a;b=c;d?e;f&&g==", "/%c3%A9%C3%a9", "/\u202f\u200b\u00a0\U0001f600",
]  # fmt: skip


@pytest.mark.parametrize("target", SIGNED)
async def test_signed_urls_arrive_as_they_were_signed(target: str) -> None:
    assert await received("{base}" + target) == sent(target)
    if not target.startswith("//"):  # which names a host where a redirect has it
        assert await received("{base}/moved", target.encode()) == sent(target)
    assert await received("{base}/moved", b"{base}" + target.encode()) == sent(target)


async def test_any_target_of_rfc_3986_arrives_as_it_was_sent() -> None:
    loop = asyncio.get_running_loop()
    wire = Wire()
    async with wire.fetching() as (fetcher, base):

        async def asked(path: str, query: str | None, fragment: str) -> None:
            target = f"/{path}" + ("" if query is None else f"?{query}")
            await fetcher.fetch(parse(base + target + fragment), CAP, within(CAP))
            assert wire.targets.pop() == sent(target)

        @given(PATH, QUERY, FRAGMENT)
        @example("é%2F%7E", "a=%2f+é", "")
        @example("..", "", "#")
        def check(path: str, query: str | None, fragment: str) -> None:
            asyncio.run_coroutine_threadsafe(asked(path, query, fragment), loop).result(30)

        await asyncio.to_thread(check)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/my image.jpg", "/my%20image.jpg"),
        (b"{base}/my image.jpg?a=b c", "/my%20image.jpg?a=b%20c"),
        ("/é.jpg".encode(), "/%C3%A9.jpg"),
        ("/é.jpg".encode("latin-1"), "/%E9.jpg"),
        ("{base}/é ä.jpg".encode("latin-1"), "/%E9%20%E4.jpg"),
        (b"b.jpg#part", "/b.jpg"),
        (b"?x=%2f", "/moved?x=%2f"),
    ],
)
async def test_redirects_with_raw_characters_are_followed(location: bytes, target: str) -> None:
    assert await received("{base}/moved", location) == target


async def test_a_host_in_another_script_is_asked_by_its_idna_name() -> None:
    wire = Wire()
    async with wire.fetching() as (fetcher, base):
        url = base.replace("origin.test", "münchen.test") + "/ä%2f"
        await fetcher.fetch(parse(url), CAP, within(CAP))
    assert wire.targets == ["/%C3%A4%2f"]
