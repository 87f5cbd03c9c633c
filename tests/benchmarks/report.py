"""Medians, ratios and goals: as values for JSON, and as a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tests.benchmarks.goals import Goal, Measure
from tests.benchmarks.measure import Results, Series
from tests.benchmarks.servers import DAVFUSION, PEERS

MEMORY_GOAL = 150 << 20


class Told(Protocol):
    """What the report says of a row."""

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def goals(self) -> tuple[Goal, ...]: ...


def as_values(rows: Sequence[Told], results: Results) -> list[dict[str, Any]]:
    """The rows with all that was measured."""
    return [_row(row, results[row.name]) for row in rows]


def _row(row: Told, all_series: Mapping[str, Series]) -> dict[str, Any]:
    return {
        "name": row.name, "what": row.what, "group": row.group, "unit": row.unit,
        "servers": {name: _series(series) for name, series in all_series.items()},
        "ratios": {subject: {peer: value for peer in PEERS
                             if (value := ratio(all_series.get(subject), all_series.get(peer))) is not None}
                   for subject in DAVFUSION if subject in all_series},
        "goals": [_goal(goal, all_series) for goal in row.goals]}


def _series(series: Series) -> dict[str, Any]:
    return {
        "rate": _median(series.rates), "rates": series.rates, "cpu_seconds_per_operation": _median(series.cpu),
        "p50_milliseconds": _median(series.p50), "p99_milliseconds": _median(series.p99),
        "times_measured": len(series.rates), "seconds": _median(series.seconds), "requests": _median(series.requests),
        "object_reads": _median(series.reads), "bytes_sent": _median(series.sent),
        "errors": series.errors, "notes": series.notes}


def _goal(goal: Goal, all_series: Mapping[str, Series]) -> dict[str, Any]:
    reached = _reached(goal, all_series)
    met = None if reached is None else reached >= goal.amount if goal.of is Measure.RATE else reached <= goal.amount
    return {"subject": goal.subject, "peer": goal.peer, "of": goal.of.value, "wanted": goal.amount, "reached": reached,
            "met": met}


def _reached(goal: Goal, all_series: Mapping[str, Series]) -> float | None:
    subject = all_series.get(goal.subject)
    peer = None if goal.peer is None else all_series.get(goal.peer)
    if goal.of is Measure.RATE:
        return ratio(subject, peer)
    own, other = _amount(goal.of, subject), _amount(goal.of, peer)
    if goal.peer is None or own is None:
        return own
    return own / other if other else None


def _amount(of: Measure, series: Series | None) -> float | None:
    if series is None or series.errors:
        return None
    values: dict[Measure, Sequence[float]] = {
        Measure.SECONDS: series.seconds, Measure.REQUESTS: series.requests, Measure.READS: series.reads,
        Measure.SENT: series.sent}
    return _median(values[of])


def ratio(subject: Series | None, peer: Series | None) -> float | None:
    """The median of the ratios of the rounds, in which both ran one soon after the other.

    The ratio of the medians where one was measured more often.
    """
    if subject is None or peer is None or subject.errors or peer.errors or not subject.rates or not peer.rates:
        return None
    if len(subject.rates) != len(peer.rates):
        return statistics.median(subject.rates) / statistics.median(peer.rates)
    return statistics.median(one / other for one, other in zip(subject.rates, peer.rates, strict=True))


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def tables(report: Mapping[str, Any]) -> str:
    """The whole report as text (Markdown)."""
    names = [name for name in (*DAVFUSION, *PEERS) if name in report["servers"]]
    load = report["load"]
    parts = [
        f"{load['rounds']} rounds of {load['seconds']:g} s, {load['generator']}, {report['machine']['cores']} cores, "
        + ", ".join(f"{name} {report['servers'][name]}" for name in names),
        "\n".join(f"missing: {name}: {why}" for name, why in report["missing"].items()),
        _rates(_group(report["rows"], "folder"), names), _cloud(_group(report["rows"], "cloud"), names),
        _goals(report), _costs(report["rows"], names), _memory(report["memory"], names),
        "\n".join(report["conditions"]), _remarks(report["rows"])]
    return "\n\n".join(part for part in parts if part)


def _rates(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    pairs = [(subject, peer) for subject in DAVFUSION for peer in PEERS if subject in names and peer in names]
    head = ["work", "unit", *names, *(f"{_short(subject)} / {peer}" for subject, peer in pairs)]
    lines = [[row["what"], row["unit"].replace("operations", "op"),
              *(_number(_of(row, name, "rate")) for name in names),
              *(_times(row["ratios"].get(subject, {}).get(peer)) for subject, peer in pairs)] for row in rows]
    return _table(head, lines)


def _cloud(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """What counts where the store is far away: time, requests and bytes."""
    names = [name for name in names if any(name in row["servers"] for row in rows)]
    kinds = (("s", "seconds", 1), ("requests", "requests", 1), ("MiB sent", "bytes_sent", 2**-20))
    head = ["work in the cloud", "times", *(f"{name}: {unit}" for name in names for unit, _, _ in kinds), "faster"]
    return _table(head, [
        [row["what"],
         ", ".join(str(row["servers"][name]["times_measured"]) for name in names if name in row["servers"]),
         *(_number(_of(row, name, key), factor) for name in names for _, key, factor in kinds),
         " ".join(f"{_times(value)} x {peer}" for each in row["ratios"].values() for peer, value in each.items())]
        for row in rows])


def _costs(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    head = ["CPU milliseconds per operation", *names]
    return _table(head, [[row["what"], *(_number(_of(row, name, "cpu_seconds_per_operation"), 1000) for name in names)]
                         for row in rows])


def _goals(report: Mapping[str, Any]) -> str:
    lines = [[row["what"], goal["subject"], _wanted(goal), _so_much(goal), _verdict(goal["met"])]
             for row in report["rows"] for goal in row["goals"]]
    at_rest = report["memory"].get(DAVFUSION[0], {}).get("idle_resident_bytes")
    if at_rest is not None:
        lines.append(["resident memory, idle", DAVFUSION[0], f"<= {MEMORY_GOAL >> 20} MiB",
                      f"{at_rest / 2**20:.0f} MiB", _verdict(at_rest <= MEMORY_GOAL)])
    return _table(["goal", "of", "wanted", "reached", ""], lines)


def _wanted(goal: Mapping[str, Any]) -> str:
    if goal["of"] == Measure.RATE.value:
        return f"{goal['wanted']:g} x {goal['peer']}"
    whose = "" if goal["peer"] is None else f"x {goal['peer']}'s "
    return f"<= {_number(goal['wanted'])} {whose}{goal['of']}"


def _so_much(goal: Mapping[str, Any]) -> str:
    if goal["of"] == Measure.RATE.value:
        return _times(goal["reached"])
    return _number(goal["reached"])


def _group(rows: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["group"] == name]


def _memory(memory: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> str:
    kinds = {"idle_resident_bytes": "resident, idle", "idle_proportional_bytes": "the same, shared pages once",
             "end_resident_bytes": "resident after all rows"}
    return "" if not memory else _table(["MiB of all processes", *names], [
        [what, *(f"{memory[name][kind] / 2**20:.0f}" if name in memory else "" for name in names)]
        for kind, what in kinds.items()])


def _remarks(rows: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"{kind}: {row['what']}: {name}: {text}" for row in rows for name, series in row["servers"].items()
        for kind, texts in (("error", series["errors"]), ("note", series["notes"])) for text in texts)


def _of(row: Mapping[str, Any], name: str, key: str) -> float | None:
    value: float | None = row["servers"].get(name, {}).get(key)
    return value


def _short(name: str) -> str:
    return name.removeprefix("davfusion-") if name != DAVFUSION[0] else name


def _verdict(met: bool | None) -> str:
    return "unknown" if met is None else "met" if met else "missed"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _number(value: float | None, factor: float = 1) -> str:
    if value is None:
        return ""
    scaled = value * factor
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *lines)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, lines)]) if lines else ""
