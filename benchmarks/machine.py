"""What ran the benchmark: processor, instruction set, versions. No names of hosts or people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "softmax",
    "numpy",
    "numba",
    "llvmlite",
    "scipy",
    "torch",
    "onnxruntime",
    "jax",
    "jaxlib",
    "scikit-learn",
)
_INSTRUCTION_SETS = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON"}


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """Return the first entry of each kind of /proc/cpuinfo; empty where there is no such file."""
    found: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def describe() -> dict[str, Any]:
    """Return processor, number of cores, instruction set, system, Python, and the load of the last minute."""
    info = _cpuinfo()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cpu_family": info.get("cpu family", ""),
        "cpu_model": info.get("model", ""),
        "cores": cores(),
        "instruction_set": next((name for flag, name in _INSTRUCTION_SETS.items() if flag in flags), "unknown"),
        "cache": info.get("cache size", ""),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions(distributions: Iterable[str] = DISTRIBUTIONS) -> dict[str, str]:
    """Return the installed versions of what takes part."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
