"""XML bodies: what is accepted, and what the plans and updates made of them are."""

from __future__ import annotations

import pytest

from davfusion.dav import xml
from davfusion.dav.errors import HttpError
from davfusion.dav.locking import LockInfo, granted_timeout, lock_info
from davfusion.dav.propfind import Plan, plan_of
from davfusion.dav.proppatch import updates_of
from davfusion.dav.request import DavSettings

LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))


@pytest.mark.parametrize("body", [
    b"", b"<a>", b"not xml", b"<a/><b/>", b"\xff\xfe", b"<a>&undefined;</a>", b"<x:a/>", b"<a>\0</a>",
    b'<?xml version="1.0" encoding="bogus"?><a/>', b"<a>" * 300 + b"</a>" * 300,
    b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
    f'<!DOCTYPE a [<!ENTITY l0 "haha">{LAUGHS}]><a>&l9;</a>'.encode(),
    f'<!DOCTYPE a [<!ENTITY l0 "haha">{LAUGHS}]><a b="&l9;"/>'.encode(),
    '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'.encode("utf-16"),
])
def test_bodies_that_are_refused(body: bytes) -> None:
    with pytest.raises(HttpError) as raised:
        xml.parse(body)
    assert raised.value.status == 400


def test_a_value_may_speak_of_document_types() -> None:
    assert xml.parse(b"<a><![CDATA[<!DOCTYPE html>]]></a>").text == "<!DOCTYPE html>"


def test_other_encodings_are_read() -> None:
    assert xml.parse('<?xml version="1.0" encoding="utf-16"?><ä/>'.encode("utf-16")).tag == "ä"


def test_text_that_xml_cannot_hold_is_replaced() -> None:
    assert xml.text("a\x01<&\ufffe\ud800b") == "a\ufffd&lt;&amp;\ufffd\ufffdb"


@pytest.mark.parametrize(("name", "expected"), [
    ("{DAV:}a", "<D:a/>"), ("a", '<a xmlns=""/>'), ('{u:"<}a', '<x:a xmlns:x="u:&quot;&lt;"/>')])
def test_empty_element(name: str, expected: str) -> None:
    assert xml.empty_element(name) == expected


def propfind_body(inner: str) -> bytes:
    return f'<propfind xmlns="DAV:" xmlns:z="urn:z">{inner}</propfind>'.encode()


@pytest.mark.parametrize(("body", "plan"), [
    (b"", Plan("allprop")),
    (b"  \r\n", Plan("allprop")),
    (propfind_body("<allprop/>"), Plan("allprop")),
    (propfind_body("<propname/>"), Plan("propname")),
    (propfind_body("<allprop/><include><z:a/></include>"), Plan("allprop", ("{urn:z}a",))),
    (propfind_body("<prop><getetag/><z:a/><getetag/></prop>"), Plan("prop", ("{DAV:}getetag", "{urn:z}a"))),
    (propfind_body("<prop/>"), Plan("prop")),
    (propfind_body("<z:unknown/><propname/>"), Plan("propname")),
])
def test_plans(body: bytes, plan: Plan) -> None:
    assert plan_of(body) == plan


@pytest.mark.parametrize("inner", ["", "<allprop/><propname/>", "<prop/><allprop/>", "<include/>",
                                   "<propname/><include><a/></include>", "<prop/><prop/>"])
def test_contradictory_plans_are_refused(inner: str) -> None:
    with pytest.raises(HttpError) as raised:
        plan_of(propfind_body(inner))
    assert raised.value.status == 400


def test_updates_keep_document_order_and_language() -> None:
    updates = updates_of(
        b'<D:propertyupdate xmlns:D="DAV:" xmlns:z="urn:z" xml:lang="de"><D:set><D:prop><z:a>1</z:a></D:prop></D:set>'
        b"<D:remove><D:prop><z:a/></D:prop></D:remove><D:set><D:prop><D:getetag>x</D:getetag></D:prop></D:set>"
        b"</D:propertyupdate>")
    assert [(each.name, each.xml is not None, each.status) for each in updates] == [
        ("{urn:z}a", True, 200), ("{urn:z}a", False, 200), ("{DAV:}getetag", True, 403)]
    assert b'xml:lang="de"' in (updates[0].xml or b"")


def lockinfo(inner: str) -> bytes:
    return f'<D:lockinfo xmlns:D="DAV:">{inner}</D:lockinfo>'.encode()


WRITE = "<D:locktype><D:write/></D:locktype>"


def test_lock_info() -> None:
    assert lock_info(lockinfo(f"<D:lockscope><D:shared/></D:lockscope>{WRITE}")) == LockInfo(False, b"")
    info = lock_info(lockinfo(f"<D:lockscope><D:exclusive/></D:lockscope>{WRITE}<D:owner>me &amp; co</D:owner><D:x/>"))
    assert info.exclusive and info.owner == b'<D:owner xmlns:D="DAV:">me &amp; co</D:owner>'


@pytest.mark.parametrize("inner", [
    "", WRITE, "<D:lockscope><D:exclusive/></D:lockscope>", f"<D:lockscope><D:other/></D:lockscope>{WRITE}",
    f"<D:lockscope><D:exclusive/><D:shared/></D:lockscope>{WRITE}",
    "<D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:read/></D:locktype>",
])
def test_lock_info_that_is_refused(inner: str) -> None:
    with pytest.raises(HttpError) as raised:
        lock_info(lockinfo(inner))
    assert raised.value.status == 400


@pytest.mark.parametrize(("header", "seconds"), [
    (None, 600), ("", 600), ("Second-120", 120), ("second-120", 120), ("Infinite", 3600), ("Second-4100000000", 3600),
    ("Infinite, Second-60", 3600), ("Extend, Second-60", 60), ("Second-x", 600), ("Second-0", 1), ("Second--5", 600),
])
def test_granted_timeout(header: str | None, seconds: float) -> None:
    assert granted_timeout(header, DavSettings()) == seconds
