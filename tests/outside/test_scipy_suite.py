"""SciPy's own tests of softmax, log_softmax and logsumexp, run against the functions of this package."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

if importlib.util.find_spec("scipy.special.tests.test_logsumexp") is None:
    pytest.skip("this build of SciPy comes without its tests", allow_module_level=True)

FOLDER = Path(__file__).parent


def run(tmp_path, libraries, plugin="scipy_with_ours"):
    """Run the suite in a process of its own; return how many tests ran, failed and deviated, and what was printed."""
    report = tmp_path / "report.xml"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCIPY_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(FOLDER)])
    if libraries != ["numpy"]:
        environment["SCIPY_ARRAY_API"] = json.dumps(libraries)
    options = ["-q", "-p", plugin, "-p", "no:cacheprovider", "-p", "no:randomly", f"--junitxml={report}"]
    suite = ["--pyargs", "scipy.special.tests.test_logsumexp", "--disable-warnings", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *suite],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case.find("skipped") for case in cases]
    deviating = [s.get("message") for s in skipped if s is not None and s.get("type") == "pytest.xfail"]
    return len(cases), failed, deviating, done.stdout


def test_numpy(tmp_path):
    ran, failed, deviating, output = run(tmp_path, ["numpy"])
    assert not failed, output
    assert ran >= 407
    assert len(deviating) == 4
    assert all(message.startswith("integers:") for message in deviating)


def test_other_libraries(tmp_path):
    libraries = [name for name in ("torch", "array_api_strict") if importlib.util.find_spec(name)]
    if not libraries:
        pytest.skip("needs torch or array_api_strict")
    ran, failed, deviating, output = run(tmp_path, libraries)
    assert not failed, output
    assert ran >= 390 * len(libraries)
    ours = [message for message in deviating if message.startswith("integers:")]
    assert len(ours) == 4 * len(libraries)


def test_a_wrong_softmax_is_noticed(tmp_path):
    (tmp_path / "scipy_with_wrong.py").write_text(
        "import softmax as sm\n"
        "right = sm.softmax\n"
        "sm.softmax = lambda x, axis: right(x, axis=axis) * (1 + 1e-6)\n"
        "from scipy_with_ours import *\n"
    )
    _, failed, _, _ = run(tmp_path, ["numpy"], "scipy_with_wrong")
    assert len(failed) >= 5
    assert all("softmax" in name for name in failed)
