"""Where a request comes from. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_HOME = 64
"""Bits that a household or a computer is given: it chooses the others as it likes."""


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed; none by default. Immutable."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Addresses such as `127.0.0.1` and networks such as `10.0.0.0/8`. Raises ValueError for anything else."""
        self._networks: tuple[_Network, ...] = tuple(ipaddress.ip_network(each.strip()) for each in networks)

    def client(self, environ: Mapping[str, Any]) -> str:
        """The address that sent the request: the peer or, behind trusted proxies, whom the outermost one names.

        The header is read from its end, where the nearest proxy wrote; before the first address that is no trusted
        proxy anybody may have written anything.
        """
        peer: str = environ.get("REMOTE_ADDR") or ""
        found = _address(peer)
        if not self._networks or found is None or not self._trusts(found):
            return peer if found is None else str(found)
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            named = _address(_without_port(hop.strip()))
            if named is None:
                break
            found = named
            if not self._trusts(found):
                break
        return str(found)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def origin(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 address, or the text itself."""
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found), _IPV6_HOME), strict=False))
    return address if found is None else str(found)


def _address(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # Servers that listen on both families see IPv4 clients as ::ffff:192.0.2.1.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _without_port(text: str) -> str:
    """Some proxies write `192.0.2.1:4711` or `[2001:db8::1]:4711`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
