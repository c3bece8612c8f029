"""Who may import whom, as a table; and what a fresh process has loaded after `import softmax`."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "softmax"


class Row(NamedTuple):
    """What a module, or every module of a folder, may import besides its own folder and the standard library."""

    ours: frozenset[str]  # modules or folders of ours; "softmax" stands for the public names
    packages: frozenset[str]


def row(ours: str = "", packages: str = "") -> Row:
    return Row(frozenset(ours.split()), frozenset(packages.split()))


BASE = "_errors _typing _deprecate _threads"
CHECKED = f"{BASE} _arrays _checks _dispatch"

# From the ground floor upwards. The longest name that a module's path begins with is its row.
TABLE = {
    "_errors": row(),
    "_typing": row(),
    "_deprecate": row(),
    "_threads": row("_errors"),
    "_files": row("_errors"),
    "_reference": row(BASE, "numpy"),
    "_reference_linear": row(f"{BASE} _reference", "numpy"),
    "tables": row(BASE, "numpy pyarrow narwhals"),
    "_kernels": row(),
    "_kernels._namespace": row(BASE),
    "_kernels._rows": row(f"{BASE} _kernels._namespace", "numpy"),
    "_kernels._torch_namespace": row("_kernels._namespace", "torch"),
    "_kernels.portable": row(f"{BASE} _kernels._namespace _kernels._rows _kernels.portable_losses", "numpy"),
    "_kernels.portable_parts": row(f"{BASE} _kernels._namespace _kernels._rows"),
    "_kernels.portable_losses": row(f"{BASE} _kernels._namespace _kernels._rows", "numpy"),
    "_kernels.portable_fit": row(BASE, "numpy"),
    "_kernels.cpu": row(f"{BASE} _kernels.portable", "numpy numba llvmlite"),
    "_kernels.gpu": row(BASE, "torch triton"),
    "_arrays": row(BASE, "numpy"),
    "_checks": row(f"{BASE} _arrays", "numpy"),
    "_dispatch": row(f"{BASE} _arrays _kernels _torch _jax", "numpy"),
    "_linear_plan": row(BASE),
    "_linear_pass": row(f"{BASE} _kernels _linear_plan", "numpy"),
    "_torch": row(f"{BASE} _kernels _torch_gpu _torch_rows _torch_losses _torch_linear", "numpy torch"),
    "_torch_linear": row(
        f"{BASE} _linear_plan _linear_pass _torch_rows _torch_losses _torch_linear_pass _torch_linear_formula "
        "_torch_linear_shares",
        "torch",
    ),
    "_torch_linear_shares": row(f"{BASE} _kernels _linear_plan _linear_pass _torch_linear_pass", "torch"),
    "_torch_linear_formula": row(f"{BASE} _torch_rows _torch_losses _torch_linear_pass", "torch"),
    "_torch_linear_pass": row(
        f"{BASE} _kernels _linear_plan _linear_pass _torch_gpu _torch_rows _torch_losses", "torch"
    ),
    "_torch_losses": row(f"{BASE} _kernels _torch_gpu _torch_rows", "numpy torch"),
    "_torch_rows": row(f"{BASE} _kernels _torch_gpu", "numpy torch"),
    "_torch_gpu": row(f"{BASE} _kernels", "torch"),
    "_jax": row(f"{BASE} _kernels", "numpy jax"),
    "_function": row(CHECKED, "numpy"),
    "_derivative": row(f"{CHECKED} _function", "numpy"),
    "_jacobian": row(f"{CHECKED} _function _derivative", "numpy"),
    "_losses": row(f"{CHECKED} _function _derivative", "numpy"),
    "_linear": row(f"{CHECKED} _linear_plan _linear_pass _losses", "numpy"),
    "_introspection": row(f"{CHECKED} _function _derivative _losses _linear _linear_plan", "numpy"),
    "_evaluation": row(f"{BASE} softmax", "numpy"),
    "regression": row(
        f"{BASE} _dispatch _kernels _function _derivative _losses softmax", "numpy scipy sklearn threadpoolctl"
    ),
    "nn": row(f"{BASE} _checks _function regression softmax", "numpy scipy sklearn torch"),
    "persistence": row(
        f"{BASE} _files regression nn _evaluation softmax", "numpy safetensors sklearn onnx onnxruntime pyarrow"
    ),
    "_table_model": row(f"{BASE} tables _evaluation regression nn softmax", "numpy sklearn pyarrow"),
    "_verdict": row(BASE, "numpy"),
    "_table_fit": row(f"{BASE} tables _evaluation _verdict _table_model regression nn softmax", "numpy sklearn"),
    "report": row(
        f"{BASE} _files tables _evaluation _verdict regression _table_model persistence softmax",
        "numpy sklearn matplotlib",
    ),
    "notes": row(f"{BASE} _files softmax", "numpy markdown_it mdit_py_plugins pylatexenc latex2mathml anki"),
    "cli": row(
        f"{BASE} _files tables _evaluation _verdict _table_model _table_fit regression persistence report notes "
        "softmax",
        "click rich numpy sklearn pyarrow",
    ),
    "": row(f"{BASE} _dispatch _function _derivative _jacobian _losses"),  # softmax/__init__.py
    "__main__": row("cli"),
}

# Rows that stand for a folder, whose modules may import one another.
FOLDERS = ("tables", "_kernels.cpu", "_kernels.gpu", "regression", "nn", "persistence", "report", "notes", "cli")

# A few modules import these inside a function only: at the first call, or when a command runs.
LATE: dict[str, set[str]] = {
    "": set(),
    "_dispatch": {"_kernels", "_torch", "_jax"},
    "_torch_linear": {"_torch_linear_shares"},
    "_table_model": {"regression", "nn", "sklearn", "pyarrow"},
    "_table_fit": {"regression", "nn", "sklearn"},
    "nn": {"torch"},  # but in the two modules that are themselves loaded late
    "nn._modules": set(),
    "nn._training": set(),
    "persistence": {"onnx", "onnxruntime", "pyarrow"},
    "notes": {"numpy", "anki", "softmax"},
    "notes.maths": {"softmax"},
    "cli": {
        "numpy",
        "_files",
        "notes",
        "sklearn",
        "pyarrow",
        "tables",
        "regression",
        "persistence",
        "report",
        "_table_model",
        "_table_fit",
    },
    "cli._screen": set(),  # is itself imported when a command runs
}


class Import(NamedTuple):
    target: str  # "numpy", or one of ours: "_kernels.portable"; "softmax" is the package itself
    ours: bool
    late: bool
    line: int


def name_of(path: Path) -> str:
    """Return a module's dotted name inside the package: src/softmax/cli/_app.py is "cli._app", __init__.py is ""."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def _targets(node: ast.Import | ast.ImportFrom, package: list[str]) -> Iterator[tuple[str, bool]]:
    """Return (target, ours) for each name of an import statement in a module of `package`."""
    if isinstance(node, ast.Import):
        names = [(alias.name, "") for alias in node.names]
    else:
        base = ["softmax", *package[: len(package) - node.level + 1]] if node.level else []
        module = ".".join([*base, *filter(None, [node.module])])
        names = [(module, alias.name) for alias in node.names]
    for module, attribute in names:
        top, _, inside = module.partition(".")
        if top != "softmax":
            yield top, False
            continue
        submodule = f"{inside}.{attribute}".strip(".")
        yield (submodule if submodule in MODULES else inside) or "softmax", True


def imports(source: str, module: str, *, is_package: bool) -> list[Import]:
    """Return every import of a module but the standard library's and those for the type checker alone."""
    tree = ast.parse(source)
    package = module.split(".") if module else []
    if not is_package:
        package = package[:-1]
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    inside = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    return [
        Import(target, ours, id(node) in inside, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in for_types
        for target, ours in _targets(node, package)
        if ours or target not in sys.stdlib_module_names
    ]


def covers(name: str, module: str) -> bool:
    return name in ("", module) or module.startswith(f"{name}.")


def row_of(module: str) -> str | None:
    """Return the longest name in the table that covers the module."""
    names = [name for name in TABLE if covers(name, module) and (name or not module)]
    return max(names, key=len, default=None)


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return a line for each import that the table does not allow."""
    name = row_of(module)
    if name is None:
        return [f"{module or '__init__'} has no row in the table"]
    allowed, packages = TABLE[name]
    late = LATE[max((n for n in LATE if covers(n, module)), key=len)]
    wrong = []
    for target, ours, is_late, line in imports(source, module, is_package=is_package):
        if ours:
            own_folder = name in FOLDERS and covers(name, target)
            fine = own_folder or any(covers(other, target) for other in allowed)
        else:
            fine = target in packages
        if not fine:
            wrong.append(f"{module or '__init__'}:{line} imports {target}, which its row {name!r} does not allow")
        elif not is_late and any(covers(other, target) for other in late):
            wrong.append(f"{module}:{line} imports {target} outside a function")
    return wrong


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "__init__")
def test_a_module_imports_only_what_its_row_allows(module):
    path = MODULES[module]
    assert violations(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize("name", TABLE, ids=lambda name: name or "__init__")
def test_a_row_names_a_module_that_exists(name):
    assert name in MODULES


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import torch", "_function"),
        ("from .regression import SoftmaxRegression", "_losses"),
        ("from . import cli", "_table_model"),
        ("from softmax.cli import main", "regression._estimator"),
        ("from softmax import cli", "regression._estimator"),
        ("from .._checks import check_axis", "_kernels.portable"),
        ("from ..._checks import check_axis", "_kernels.cpu.rows"),
        ("def f():\n    import numba", "_kernels.portable"),
        ("from ._losses import cross_entropy", "_derivative"),
        ("from .._reference import Pair", "regression._certificate"),
        ("from ._kernels import cpu", "_dispatch"),  # allowed inside a function only
        ("import numpy", "cli._fit"),  # the same
        ("import softmax", "a_new_module"),
    ],
)
def test_the_check_can_fail(source, module):
    assert len(violations(source, module)) == 1


def test_the_check_lets_the_checker_of_types_import():
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    assert violations(source, "_typing") == []


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


def fresh(code: str, bytecode: Path, **environment: str) -> dict:
    """Run code in a new interpreter, with compiled bytecode as an installed package has, and return its JSON."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_START")}
    env |= {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONWARNINGS": "error", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOADED = """
import json, sys
def packages():
    return sorted({m.partition(".")[0] for m in sys.modules} - sys.stdlib_module_names - {"__main__", "softmax"})
before = packages()
"""


def loaded_by(code: str, bytecode: Path) -> set[str]:
    """Return the packages that are loaded after the code, and were not before."""
    report = "\nprint(json.dumps(sorted(set(packages()) - set(before))))"
    return {name for name in fresh(LOADED + code + report, bytecode) if not name.startswith("_")}


# Numba itself loads SciPy where it is installed.
FRAMEWORKS = {"torch", "jax", "numba", "llvmlite", "scipy", "sklearn", "pyarrow", "click", "rich", "pandas", "polars"}


def test_importing_softmax_loads_nothing(bytecode):
    assert loaded_by("import softmax", bytecode) == set()


def test_the_functions_load_numpy_alone(bytecode):
    assert loaded_by("from softmax import softmax, softmax_vjp, cross_entropy, SoftmaxJacobian", bytecode) == {"numpy"}


def test_the_check_of_loaded_packages_can_fail(bytecode):
    assert "scipy" in loaded_by("import softmax, scipy.special", bytecode)


def test_a_numpy_call_loads_the_compiler_and_no_other_framework(bytecode):
    pytest.importorskip("numba")
    loaded = loaded_by("import softmax; softmax.softmax([1.0, 2.0])", bytecode)
    assert not loaded & (FRAMEWORKS - {"numba", "llvmlite", "scipy"})
    assert "numba" in loaded


def test_the_portable_kernels_load_numpy_alone(bytecode):
    code = "import os; os.environ['SOFTMAX_KERNELS'] = 'portable'\nimport softmax; softmax.softmax([1.0, 2.0])"
    assert loaded_by(code, bytecode) == {"numpy"}


def test_without_numba_the_portable_kernels_serve(bytecode):
    code = """
import json, sys
sys.modules["numba"] = None  # as if it were not installed
import softmax
print(json.dumps(softmax.softmax([0.0, 0.0]).tolist()))
"""
    assert fresh(code, bytecode) == [0.5, 0.5]


def test_help_of_the_command_line_loads_no_framework(bytecode):
    pytest.importorskip("click")
    code = """
import contextlib, io
from softmax.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert not loaded_by(code, bytecode) & (FRAMEWORKS - {"click"} | {"numpy"})


def test_importing_softmax_takes_less_than_a_tenth_of_a_second_over_numpy(bytecode):
    code = """
import json, time
import numpy
start = time.perf_counter()
import softmax
print(json.dumps(time.perf_counter() - start))
"""
    assert min(fresh(code, bytecode) for _ in range(3)) < 0.1
