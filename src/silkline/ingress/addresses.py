"""Checks whether an IP address is on the public internet.

Silkline keeps its own list: `ipaddress.is_global` differs between Python releases and counts NAT64,
6to4 and site-local addresses as global. Every range of the IANA special-purpose registries is
denied, including the few globally reachable ones, because no image is served from them. Forms that
embed an IPv4 address are denied whatever that address is.

https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address

DENIED_IPV4 = tuple(
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space (and Alibaba's metadata), RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # Azure's host agent: public by number, private by route
        "169.254.0.0/16",  # link-local and cloud metadata, RFC 3927
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments (and Oracle's metadata), RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112-v4, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # 6to4 relay anycast, RFC 7526
        "192.168.0.0/16",  # private use, RFC 1918
        "192.175.48.0/24",  # AS112 direct delegation, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, and limited broadcast, RFC 1112 and RFC 919
    )
)

GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
"""The only block from which IANA allocates public unicast addresses, RFC 4291."""

DENIED_IPV6 = tuple(
    IPv6Network(cidr)
    for cidr in (
        "::/128",  # unspecified, RFC 4291
        "::1/128",  # loopback, RFC 4291
        "::/96",  # IPv4-compatible, RFC 4291
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # local-use NAT64, RFC 8215
        "100::/64",  # discard only, RFC 6666
        "100:0:0:1::/64",  # dummy prefix, RFC 9780
        "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarking, RFC 2928
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056
        "2620:4f:8000::/48",  # AS112 direct delegation, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing SIDs, RFC 9602
        "fc00::/7",  # unique local (and AWS's metadata), RFC 4193
        "fe80::/10",  # link-local, RFC 4291
        "fec0::/10",  # site-local, RFC 3879
        "ff00::/8",  # multicast, RFC 4291
    )
)


def is_public(address: IPAddress) -> bool:
    """Whether an address is on the public internet; False when in doubt."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in DENIED_IPV4)
    if address.scope_id is not None or address not in GLOBAL_UNICAST_IPV6:
        return False
    return not any(address in network for network in DENIED_IPV6)
