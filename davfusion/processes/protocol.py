"""What a supervisor and its children agree on."""

from __future__ import annotations

import signal

EXIT_UNUSABLE = 78
"""Exit code of a child that another start cannot help (sysexits: EX_CONFIG)."""

HANDLED_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""Signals that every process deals with; blocked until it can."""
