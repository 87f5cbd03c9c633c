"""Log lines of all processes: events with fields, one per line, on standard error."""

from __future__ import annotations

import json
import logging
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO davfusion.sync upload done share=files bytes=10`."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The event and its fields; line breaks cannot forge another line."""
        fields = (f" {name}={_value(value)}" for name, value in vars(record).items() if name not in _STANDARD)
        message = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        return f"{_moment(record)} {record.levelname} {record.name} {message}{''.join(fields)}"


def _moment(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _value(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(mark in text for mark in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def set_up(*, verbose: bool) -> None:
    """Send the events of this process to standard error; `verbose` shows every request and transfer."""
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("davfusion").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("davfusion.access").setLevel(logging.INFO if verbose else logging.WARNING)
