"""Hundreds of ways to write URLs that lead, or try to lead, where the fetcher may not go."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

TARGETS = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1")
SPECIAL = ("0.0.0.0", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.88.99.1",
           "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "[::]",
           "[::1]", "[100::1]", "[2001::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]",
           "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]")  # fmt: skip
OTHER_SCHEMES = ("file", "ftp", "gopher", "ws", "dict", "ldap", "jar", "blob", "unix", "http+unix",
                 "tftp", "sftp", "javascript", "view-source", "s3")  # fmt: skip
FULL_STOPS = "。．｡"  # noqa: RUF001 - that is the point


def blocked_urls(port: int) -> list[str]:
    """All of them, each with its own text."""
    urls = [
        f"http://{host}:{port}/{place}.jpg"
        for target in TARGETS
        for place, host in enumerate(hosts(target))
    ]
    urls += [url for target in TARGETS[:2] for url in disguises(target, port)]
    urls += [f"http://{host}:{port}/" for host in SPECIAL]
    urls += [f"{scheme}://127.0.0.1:{port}/" for scheme in OTHER_SCHEMES]
    urls += malformed(port)
    assert len(urls) == len(set(urls))
    return urls


def hosts(target: str) -> list[str]:
    """Spellings of an IPv4 address as a host."""
    number = int(IPv4Address(target))
    a, b, c, d = IPv4Address(target).packed
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    teredo = IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))
    return [
        target,
        str(number),
        hex(number),
        hex(number).upper(),
        oct(number).replace("0o", "0"),
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        f"{a}.{(b << 16) | (c << 8) | d}",
        f"{a}.{b}.{(c << 8) | d}",
        f"{a:#x}.{(b << 16) | (c << 8) | d}",
        f"{target}.",
        f"{target}..",
        f".{target}",
        f"{a}..{b}.{c}.{d}",
        "".join(f"%{ord(character):02x}" for character in target),
        target.replace(".", "%2e"),
        target.replace(".", FULL_STOPS[0]),
        target.replace(".", FULL_STOPS[1]),
        target.replace(".", FULL_STOPS[2]),
        "".join(chr(ord(one) - 0x30 + 0xFF10) if one.isdigit() else one for one in target),
        "".join(chr(ord(one) - 0x30 + 0x1D7CE) if one.isdigit() else one for one in target),
        f"[::ffff:{target}]",
        f"[::ffff:{high}:{low}]",
        f"[0:0:0:0:0:ffff:{high}:{low}]",
        f"[::{target}]",
        f"[::ffff:0:{target}]",
        f"[64:ff9b::{target}]",
        f"[64:ff9b:1::{high}:{low}]",
        f"[2002:{high}:{low}::]",
        f"[{teredo}]",
        f"[fe80::{high}:{low}%25eth0]",
        f"[fe80::{high}:{low}%eth0]",
    ]


def disguises(target: str, port: int) -> list[str]:
    """URLs that two parsers may read differently."""
    at = f"{target}:{port}"
    return [
        f"http://user@{at}/",
        f"http://user:secret@{at}/",
        f"http://pictures.example@{at}/",
        f"http://pictures.example:80@{at}/",
        f"http://{at}@pictures.example/",
        f"http://{at}\\@pictures.example/",
        f"http://pictures.example\\@{at}/",
        f"http://pictures.example\\.{at}/",
        f"http://{at}#@pictures.example/",
        f"http://{at}?@pictures.example/",
        f"http://{at};@pictures.example/",
        f"http://{at},pictures.example/",
        f"http://{at}%00.pictures.example/",
        f"http://{at}%23@pictures.example/",
        f"http://{at}&@pictures.example#/",
        f"http://pictures.example @{at}/",
        f"http://pictures.example\t@{at}/",
        f"http://pictures.example\r\nHost: {at}/",
        f"http://{at}\x00.pictures.example/",
        f"http://{at}\u2028/",
        f"http:\\\\{at}\\",
        f"http:/\\{at}/",
        f"http:///{at}/",
        f"http:/{at}/",
        f"http:{at}/",
        f"http://{target}:{port}:80/",
        f"http://{target}:0/",
        f"http://{target}:0{port}/",
        f"http://{target}:{port + 65536}/",
        f"http://{target}:+{port}/",
        f"http://{target}:/",
        f"http://{target}: {port}/",
        f"HTTP://{at}/upper.jpg",
        f"https://{at}/tls.jpg",
        f"url:http://{at}/",
    ]


def malformed(port: int) -> list[str]:
    return [
        "http://",
        "http://:80/",
        "http://.",
        "http://..",
        "http://-a.example/",
        "http://a-.example/",
        "http://a..example/",
        "http://a.example./",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}example/",
        f"http://a.example/{'x' * 9000}",
        "http://[::1/",
        "http://::1/",
        "http://[]/",
        "http://[v1.fe80]/",
        "http://[::1]x/",
        "http://a[::1]/",
        "http://[::g]/",
        "http://a.example:http/",
        "http://a.example/\ud800",
        "http://a.example/a b",
        "http://a.example/\x7f",
        "http://localhost/",
        f"http://localhost:{port}/",
        "http://redis:6379/",
        "http://metadata/computeMetadata/v1/",
        "http://1/",
        "http://0/",
        "http://0x/",
        "http://1.2.3/",
        "http://1.2.3.4.5/",
        "http://256.256.256.256/",
        "http://a.example.1/",
        "http://a.0x7f/",
        "http://ｐictures.example/",  # noqa: RUF001 - a wide p
        "http://pictures。example/",
        "http://ﬁ.example/",
        "http://xn--/",
        "http://xn--0.example/",
        "http://xn--zzzzzzzzzz99.example/",
        "http://*.example.com/",
        "http://$HOST.example/",
        "http://{a}.example/",
        "http://'a'.example/",
        'http://"a".example/',
    ]
