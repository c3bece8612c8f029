"""One environment for each rival, so that nobody has to live with another's versions.

``python -m benchmarks.regression.environments`` makes what is missing under ``.venv-rivals``; a second run installs
nothing. The R packages come from the system: they are looked for, not installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from benchmarks.regression import RIVAL_ENVIRONMENTS, ROOT

PACKAGES: dict[str, tuple[str, ...]] = {
    "sklearn": ("scikit-learn==1.9.1",),
    "sklearnex": ("scikit-learn-intelex==2026.2.0", "scikit-learn==1.9.1"),
    "cyanure": ("cyanure==1.2.2",),
    "statsmodels": ("statsmodels==0.15.0",),
    # PyTorch is exactly this one, in every command that could install it.
    "torch": ("torch==2.13.0", "numpy", "scipy"),
    "adelie": ("adelie==1.1.52", "numpy<2"),  # its wheel was built against the older NumPy
}
R_PACKAGES = ("glmnet", "nnet")
_PACKAGE_OF = {"multinom": "nnet"}  # the other methods of R are glmnet's
OURS = "softmax"


def python_of(name: str) -> Path:
    """Return the interpreter of an environment; ours is the one that runs this."""
    if name in (OURS, "r"):
        return Path(sys.executable)
    return RIVAL_ENVIRONMENTS / name / "bin" / "python"


def _stamp(name: str) -> Path:
    return RIVAL_ENVIRONMENTS / name / "installed.json"


def _wanted(name: str) -> dict[str, object]:
    # A moved folder keeps paths to the old place, so that the place is part of what was installed.
    return {"packages": list(PACKAGES[name]), "place": str(ROOT)}


def installed(name: str) -> bool:
    """Whether the environment is there, complete and the one that is asked for."""
    stamp = _stamp(name)
    return stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == _wanted(name)


@cache
def r_reason(package: str) -> str | None:
    """Why a package of R cannot be run, or None."""
    program = shutil.which("Rscript")
    if program is None:
        return "Rscript is not installed (Debian: apt install r-base-core)"
    found = subprocess.run(
        [program, "-e", f'quit(status = !requireNamespace("{package}", quietly = TRUE))'],
        check=False,
        capture_output=True,
    )
    return None if found.returncode == 0 else f"R has no {package} (Debian: apt install r-cran-{package})"


def missing(rival: str, method: str = "") -> str | None:
    """Why a rival cannot be run here, or None; `method` says which package of R."""
    if rival == OURS:
        return None
    if rival == "r":
        return r_reason(_PACKAGE_OF.get(method, "glmnet"))
    if not installed(rival):
        return f"not installed: run `python -m benchmarks.regression.environments {rival}`"
    return None


def install(name: str) -> float:
    """Make one environment anew and return the seconds it took."""
    began = time.perf_counter()
    folder = RIVAL_ENVIRONMENTS / name
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    command = [str(python_of(name)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *PACKAGES[name]]
    subprocess.run(command, check=True)
    _stamp(name).write_text(json.dumps(_wanted(name)), encoding="utf-8")
    return time.perf_counter() - began


def versions(name: str) -> dict[str, str]:
    """Return what is installed in an environment, by name."""
    if name == "r":
        script = 'for (p in c("base", "glmnet", "nnet")) if (requireNamespace(p, quietly = TRUE)) cat(p, as.character('
        script += 'packageVersion(p)), "\\n")'
        text = subprocess.run(["Rscript", "-e", script], check=True, capture_output=True, text=True).stdout
        return dict(line.split() for line in text.splitlines())
    command = [str(python_of(name)), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {entry["name"].lower(): entry["version"] for entry in listed}


def main(names: list[str] | None = None) -> int:
    """Make the environments that are missing, all or those that are named; say what was skipped and why."""
    for name in names or PACKAGES:
        if name not in PACKAGES:
            print(f"no rival {name}; the rivals are: {', '.join(PACKAGES)}", file=sys.stderr)
            return 2
        if installed(name):
            continue
        try:
            print(f"{name}: installed in {install(name):.0f} s", flush=True)
        except (subprocess.CalledProcessError, OSError) as error:
            # One rival that cannot be had here must not keep the others from running; the tables say what is absent.
            print(f"{name}: skipped, it could not be installed ({error})", file=sys.stderr, flush=True)
    for package in R_PACKAGES:
        if reason := r_reason(package):
            print(f"{package}: skipped, {reason}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
