"""A large vault of notes, and how long it takes to check, plan and sync it: ``python -m benchmarks.notes.run``."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "notes.json"
PAGE = ROOT / "benchmarks" / "NOTES.md"
