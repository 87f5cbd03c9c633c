"""Calls a WSGI application as a server would, without a network between."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from lxml import etree

D = "{DAV:}"
SHARED, EXCLUSIVE = "shared", "exclusive"


@dataclass
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> etree._Element:
        assert self.headers["content-type"].startswith("application/xml")
        return etree.fromstring(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    def hrefs(self) -> list[str]:
        return [each.text or "" for each in self.xml.iterfind(f"{D}response/{D}href")]

    def properties(self, href: str | None = None) -> dict[tuple[str, int], etree._Element]:
        """The property elements of one response (by default the first), by name and status."""
        found = {}
        responses = {each.findtext(f"{D}href"): each for each in reversed(self.xml.findall(f"{D}response"))}
        response = responses[href] if href is not None else self.xml.find(f"{D}response")
        assert response is not None
        for propstat in response.iterfind(f"{D}propstat"):
            status = int((propstat.findtext(f"{D}status") or "").split()[1])
            for element in propstat.iterfind(f"{D}prop/*"):
                found[str(element.tag), status] = element
        return found

    def value(self, name: str, href: str | None = None) -> str | None:
        """The text of a property that was found, None if it was not."""
        element = self.properties(href).get((name, 200))
        return None if element is None else "".join(element.itertext())

    @property
    def token(self) -> str:
        assert self.headers["lock-token"].startswith("<") and self.headers["lock-token"].endswith(">")
        return self.headers["lock-token"][1:-1]


class AtHand(io.BytesIO):
    """A body that has come before its request is answered."""

    at_hand = True


class Client:
    """`user` goes to the application as the header X-User, for an application that asks for it.

    `body`: what bodies are, at hand unless told.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], *, user: str | None = None, host: str = "box",
                 body: type[io.BytesIO] = AtHand) -> None:
        self.app = app
        self.body = body
        self.user = user
        self.host = host

    def request(self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None,
                **environ: Any) -> Answer:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            started[:] = [status, headers]

        result = self.app(self.environ(method, url, body, headers or {}) | environ, start_response)
        try:
            content = b"".join(result)
        finally:
            if hasattr(result, "close"):
                result.close()
        status, fields = started
        code = int(status.split()[0])
        answer = Answer(code, {name.lower(): value for name, value in fields}, content)
        assert len(answer.headers) == len(fields), "a header came twice"
        length = answer.headers.get("content-length")
        if method == "HEAD" or code in (204, 304):
            assert not content
        elif length is not None:
            assert int(length) == len(content)
        return answer

    def environ(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        raw, _, query = url.partition("?")
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": unquote_to_bytes(raw).decode("latin-1"), "REQUEST_URI": url,
            "QUERY_STRING": query, "SCRIPT_NAME": "", "SERVER_NAME": "box", "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": self.host, "wsgi.url_scheme": "http",
            "wsgi.input": self.body(body), "CONTENT_LENGTH": str(len(body)) if body else "",
        }
        if self.user is not None:
            environ["HTTP_X_USER"] = self.user
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ

    def get(self, url: str, **headers: str) -> Answer:
        return self.request("GET", url, headers=dashed(headers))

    def put(self, url: str, body: bytes = b"", **headers: str) -> Answer:
        return self.request("PUT", url, body, dashed(headers))

    def mkcol(self, url: str, **headers: str) -> Answer:
        return self.request("MKCOL", url, headers=dashed(headers))

    def delete(self, url: str, **headers: str) -> Answer:
        return self.request("DELETE", url, headers=dashed(headers))

    def copy(self, url: str, destination: str, **headers: str) -> Answer:
        return self.request("COPY", url, headers={"Destination": destination, **dashed(headers)})

    def move(self, url: str, destination: str, **headers: str) -> Answer:
        return self.request("MOVE", url, headers={"Destination": destination, **dashed(headers)})

    def propfind(self, url: str, body: str = "", *, depth: str = "0", **headers: str) -> Answer:
        return self.request("PROPFIND", url, body.encode(), {"Depth": depth, **dashed(headers)})

    def find(self, url: str, *names: str, depth: str = "0", **headers: str) -> Answer:
        """PROPFIND by names in Clark notation."""
        elements = "".join(f'<p:{name[1:].partition("}")[2]} xmlns:p="{name[1:].partition("}")[0]}"/>'
                           for name in names)
        body = f'<D:propfind xmlns:D="DAV:"><D:prop>{elements}</D:prop></D:propfind>'
        return self.propfind(url, body, depth=depth, **headers)

    def proppatch(self, url: str, inner: str, **headers: str) -> Answer:
        body = f'<D:propertyupdate xmlns:D="DAV:" xmlns:z="urn:z" xmlns:m="urn:schemas-microsoft-com:">{inner}' \
               "</D:propertyupdate>"
        return self.request("PROPPATCH", url, body.encode(), dashed(headers))

    def lock(self, url: str, scope: str = EXCLUSIVE, *, depth: str = "infinity", owner: str = "me",
             **headers: str) -> Answer:
        body = f'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>' \
               f"<D:locktype><D:write/></D:locktype><D:owner>{owner}</D:owner></D:lockinfo>"
        return self.request("LOCK", url, body.encode(), {"Depth": depth, **dashed(headers)})

    def refresh(self, url: str, token: str, **headers: str) -> Answer:
        return self.request("LOCK", url, headers={"If": f"(<{token}>)", **dashed(headers)})

    def unlock(self, url: str, token: str, **headers: str) -> Answer:
        return self.request("UNLOCK", url, headers={"Lock-Token": f"<{token}>", **dashed(headers)})


def dashed(headers: dict[str, str]) -> dict[str, str]:
    """Keyword arguments as header names: `If_Match` is If-Match, `If_` is If."""
    return {name.rstrip("_").replace("_", "-"): value for name, value in headers.items()}


def set_property(content: str) -> str:
    return f"<D:set><D:prop>{content}</D:prop></D:set>"


def remove_property(content: str) -> str:
    return f"<D:remove><D:prop>{content}</D:prop></D:remove>"
