"""What the supervising process tells its children."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from davfusion.settings import Config


@dataclass(frozen=True, slots=True)
class Handover:
    """What a child is told: the settings, the state directory, its socket and core if it is a front."""

    config: Config
    state: Path
    verbose: bool
    listening: int | None = None
    core: int | None = None

    def to_line(self) -> str:
        """One line of text; holds secrets."""
        return json.dumps({
            "config": self.config.handover(), "state": str(self.state), "verbose": self.verbose,
            "listening": self.listening, "core": self.core})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The reverse of `to_line`."""
        fields = json.loads(line)
        config, state = Config.from_handover(fields.pop("config")), Path(fields.pop("state"))
        return cls(config=config, state=state, **fields)
