"""The benchmark of the classifiers: every tool brought to the same verified gap, then timed.

`registry` holds the cases, `methods` what the others can do, `gap` the one function that judges all results, `search`
finds the loosest setting of each method that reaches the target, `run` times and writes `results/regression.json`.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache-bench"
RIVAL_ENVIRONMENTS = ROOT / ".venv-rivals"
RESULTS = ROOT / "benchmarks" / "results" / "regression.json"
SETTINGS = HERE / "settings.json"
PAGE = ROOT / "benchmarks" / "REGRESSION.md"
PLOT = ROOT / "benchmarks" / "regression.svg"
