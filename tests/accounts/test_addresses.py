"""Where a request comes from, and whom to believe about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.accounts.addresses import TrustedProxies, origin


@pytest.mark.parametrize(("address", "expected"), [
    ("192.0.2.7", "192.0.2.7"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("", ""),
    ("/run/socket", "/run/socket"),
])
def test_what_counts_as_one_address(address: str, expected: str) -> None:
    assert origin(address) == expected


@pytest.mark.parametrize(("trusted", "peer", "forwarded", "expected"), [
    ([], "10.0.0.1", "203.0.113.9", "10.0.0.1"),
    (["10.0.0.1"], "10.0.0.2", "203.0.113.9", "10.0.0.2"),
    (["10.0.0.1"], "10.0.0.1", "203.0.113.9", "203.0.113.9"),
    (["10.0.0.1"], "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
    (["10.0.0.1"], "10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
    (["10.0.0.0/8"], "10.0.0.1", "1.1.1.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
    (["10.0.0.0/8"], "10.0.0.1", "10.1.1.1, 10.9.9.9", "10.1.1.1"),
    (["10.0.0.1"], "10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
    (["10.0.0.1"], "10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
    (["10.0.0.1"], "10.0.0.1", "2001:db8::1", "2001:db8::1"),
    (["::1"], "::1", "203.0.113.9", "203.0.113.9"),
    (["10.0.0.1"], "10.0.0.1", "", "10.0.0.1"),
    (["10.0.0.1"], "10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
    (["10.0.0.1"], "10.0.0.1", "203.0.113.9,", "10.0.0.1"),
    (["10.0.0.1"], "", "203.0.113.9", ""),
])
def test_forwarded(trusted: list[str], peer: str, forwarded: str, expected: str) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert TrustedProxies(trusted).client(environ) == expected


@pytest.mark.parametrize("network", ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33"])
def test_networks_that_are_none(network: str) -> None:
    with pytest.raises(ValueError, match=r"10|''|proxy"):
        TrustedProxies([network])


@given(st.text(), st.text() | st.ip_addresses().map(str))
def test_no_header_is_too_odd(forwarded: str, peer: str) -> None:
    everything = TrustedProxies(["0.0.0.0/0", "::/0"])
    for proxies in (everything, TrustedProxies()):
        origin(proxies.client({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}))
