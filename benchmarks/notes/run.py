"""Times check, plan and sync on a large vault: ``make bench-notes``, or ``python -m benchmarks.notes.run --notes 500``.

Each command runs in a fresh process, as a user's does. What it did is looked at before its time counts: the number of
cards in the collection, that a second run finds nothing to do, that every wrong formula was found.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, versions
from benchmarks.notes import PAGE, RESULTS
from benchmarks.notes.page import page
from benchmarks.notes.process import Measured, measure
from benchmarks.notes.vault import Contents, write_vault

PACKAGES = ("softmax", "anki", "markdown-it-py", "pylatexenc", "numpy")


class WrongResultError(Exception):
    """A command did not do what it should have: then its time says nothing."""


def _expect(step: str, measured: Measured, exit_code: int) -> None:
    if measured.exit_code != exit_code or "should not happen" in measured.errors:
        end = "\n".join((measured.output + measured.errors).splitlines()[-20:])
        raise WrongResultError(
            f"{step}: exit code {measured.exit_code} instead of {exit_code}. Its output ends:\n{end}"
        )


def _count_cards(collection: Path) -> int:
    """Return the number of notes in a collection, as the official package counts them."""
    from anki.collection import Collection

    opened = Collection(str(collection))
    try:
        return opened.note_count()
    finally:
        opened.close()


def steps(vault: Path, collection: Path, contents: Contents) -> list[dict[str, Any]]:
    """Run every step and return its figures."""
    records: list[dict[str, Any]] = []
    target = ["--collection", str(collection)]

    def step(name: str, arguments: list[str], exit_code: int) -> Measured:
        print(f"{name} ...", end=" ", flush=True)
        measured = measure(arguments)
        print(f"{measured.seconds:.2f} s, {(measured.peak_bytes or 0) / 1e6:.0f} MB", flush=True)
        _expect(name, measured, exit_code)
        figures = {key: value for key, value in asdict(measured).items() if key not in ("output", "errors", "command")}
        records.append({"step": name} | figures)
        return measured

    found = step("check", ["notes", "check", str(vault), "--format", "json"], 1 if contents.wrong_formulas else 0)
    refuted = [f for f in json.loads(found.output)["findings"] if f["rule"] == "maths/refuted"]
    if len(refuted) < contents.wrong_formulas * 0.9:
        raise WrongResultError(f"check: {len(refuted)} steps refuted; {contents.wrong_formulas} formulas are wrong.")
    step("plan", ["notes", "plan", str(vault), *target], 1)
    step("first sync", ["notes", "sync", str(vault), *target, "--yes"], 0)
    if (count := _count_cards(collection)) != contents.cards:
        raise WrongResultError(f"first sync: {count} notes in the collection; {contents.cards} cards in the vault.")
    step("check again", ["notes", "check", str(vault), "--format", "json"], 1 if contents.wrong_formulas else 0)
    step("plan again", ["notes", "plan", str(vault), *target], 0)
    step("sync again", ["notes", "sync", str(vault), *target, "--yes"], 0)
    if (count := _count_cards(collection)) != contents.cards:
        raise WrongResultError(f"sync again: {count} notes in the collection; {contents.cards} cards in the vault.")
    return records


def main() -> int:
    """Measure, write the results and the page."""
    parser = argparse.ArgumentParser(description="Time check, plan and sync on a large vault.")
    parser.add_argument("--notes", type=int, default=10_000, help="how many notes; two cards each (default 10000)")
    parser.add_argument("--folder", type=Path, help="where to work and leave everything (default: a temporary folder)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="softmax-bench-") as temporary:
        folder = chosen.folder or Path(temporary)
        contents = write_vault(folder / "vault", chosen.notes, seed=chosen.seed)
        print(f"{contents.notes} notes, {contents.cards} cards, {contents.bytes / 1e6:.1f} MB of text", flush=True)
        try:
            records = steps(folder / "vault", folder / "bench.anki2", contents)
        except WrongResultError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    results = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": versions(PACKAGES),
        "contents": asdict(contents),
        "steps": records,
    }
    text = page(results)
    if chosen.notes == 10_000:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
