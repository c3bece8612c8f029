"""What a check found, as lines for people, JSON, SARIF 2.1.0, and annotations of GitHub."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ._check import Checked, Finding, shown_path
from ._model import Place

MOST_PLACES = 6
_SARIF_LEVEL = {"error": "error", "warning": "warning", "remark": "note"}
_GITHUB_LEVEL = {"error": "error", "warning": "warning", "remark": "notice"}
_MEANINGS = {
    "maths/refuted": "The two sides of a step differ at a random point of their domain.",
    "maths/malformed": "Something is missing in a formula.",
    "maths/not-understood": "A step was not judged.",
    "maths/repeated-row": "A row of a derivation repeats the one before it.",
}


def as_lines(checked: Checked) -> Iterator[tuple[str, str]]:
    """Yield (text, style) line by line; style is "" or a severity."""
    for finding in checked.findings:
        place = finding.place
        where = f"{shown_path(checked.vault, place.path)}:{place.line}:{place.column}"
        yield f"{where}: {finding.severity}: {finding.text} [{finding.rule}]", finding.severity
        if finding.suggestion:
            yield f"    {finding.suggestion}", ""
        if len(finding.places) > 1:
            yield f"    also at {_others(checked, finding)}", ""
    yield summary(checked), ""


def _others(checked: Checked, finding: Finding) -> str:
    first = finding.place
    parts = []
    for place in finding.places[1 : MOST_PLACES + 1]:
        same = place.path == first.path
        parts.append(f"line {place.line}" if same else f"{shown_path(checked.vault, place.path)}:{place.line}")
    more = len(finding.places) - 1 - len(parts)
    return ", ".join(parts) + (f" and {more} more places" if more > 0 else "")


def summary(checked: Checked) -> str:
    """One line with the counts."""
    notes = len(checked.vault.notes)
    counted = Counter(finding.severity for finding in checked.findings)
    parts = [_plural(counted[word], word) for word in ("error", "warning", "remark") if counted[word]]
    told = ", ".join(parts) or "no findings"
    steps = Counter(step["verdict"] for step in checked.steps if step["verdict"] != "definition")
    order = ("proved", "consistent", "not refuted", "refuted", "malformed", "not understood")
    judged = ", ".join(f"{steps[word]} {word}" for word in order if steps[word])
    line = f"{told} in {_plural(notes, 'note')}"
    if judged:
        line += f"; {_plural(sum(steps.values()), 'step')}: {judged}"
    if steps["consistent"]:
        line += " (consistent: equal at random points, which is no proof)"
    return line + "."


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def as_json(checked: Checked) -> str:
    """Everything as JSON: the list "findings", the list "steps", and the counts."""
    content = {
        "version": 1,
        "notes": [shown_path(checked.vault, path) for path in checked.vault.notes],
        "findings": [_finding(checked, finding) for finding in checked.findings],
        "steps": [_step(checked, step) for step in checked.steps],
        "counts": dict(Counter(finding.severity for finding in checked.findings)),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _finding(checked: Checked, finding: Finding) -> dict[str, Any]:
    place = finding.place
    out: dict[str, Any] = {
        "file": shown_path(checked.vault, place.path),
        "line": place.line,
        "column": place.column,
        "rule": finding.rule,
        "verdict": finding.verdict,
        "severity": finding.severity,
        "message": finding.text,
        "suggestion": finding.suggestion,
        "places": [_place(checked, where) for where in finding.places],
    }
    if finding.end is not None:
        out |= {"end_line": finding.end.line, "end_column": finding.end.column}
    plain: dict[str, Any] = _plain(finding.data)
    return out | plain


def _place(checked: Checked, place: Place) -> dict[str, Any]:
    return {"file": shown_path(checked.vault, place.path), "line": place.line, "column": place.column}


def _step(checked: Checked, step: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in step.items() if key != "place"}
    plain: dict[str, Any] = _plain(rest)
    return _place(checked, step["place"]) | plain


def _plain(value: Any) -> Any:
    """A value for JSON, where what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_sarif(checked: Checked, version: str) -> str:
    """The findings as a SARIF 2.1.0 log; pasted copies are related locations."""
    rules = sorted({finding.rule for finding in checked.findings})
    results = []
    for finding in checked.findings:
        message = finding.text + (f"\n{finding.suggestion}" if finding.suggestion else "")
        result: dict[str, Any] = {
            "ruleId": finding.rule,
            "ruleIndex": rules.index(finding.rule),
            "level": _SARIF_LEVEL[finding.severity],
            "message": {"text": message},
            "locations": [_location(checked, finding.place, finding.end)],
        }
        if len(finding.places) > 1:
            result["relatedLocations"] = [
                _location(checked, place) | {"message": {"text": "the same"}} for place in finding.places[1:]
            ]
        if finding.verdict is not None:
            result["properties"] = {"verdict": finding.verdict}
        results.append(result)
    described = [{"id": rule, "shortDescription": {"text": _MEANINGS.get(rule, rule)}} for rule in rules]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "softmax notes check", "version": version, "rules": described}},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def _location(checked: Checked, place: Place, end: Place | None = None) -> dict[str, Any]:
    from urllib.parse import quote

    region = {"startLine": place.line, "startColumn": place.column}
    if end is not None and (end.line, end.column) > (place.line, place.column):
        region |= {"endLine": end.line, "endColumn": end.column}
    uri = quote(shown_path(checked.vault, place.path), safe="/")
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}


def as_github(checked: Checked) -> Iterator[str]:
    """Workflow commands that annotate the lines of a pull request."""
    for finding in checked.findings:
        place = finding.place
        text = finding.text + (f"\n{finding.suggestion}" if finding.suggestion else "")
        if len(finding.places) > 1:
            text += f"\nalso at {_others(checked, finding)}"
        parameters = (
            f"file={_escaped(shown_path(checked.vault, place.path), ':,')},line={place.line},col={place.column}"
        )
        title = _escaped(finding.rule, ":,")
        yield f"::{_GITHUB_LEVEL[finding.severity]} {parameters},title={title}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
