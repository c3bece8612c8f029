"""The public names: sorted, defined, each in one place, and lazy where they need more than NumPy."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import softmax as sm

SOURCE = Path(sm.__file__).parent

# What the first release promises, written out: a name that disappears fails here and not at a user's.
PROMISED = {
    "functions": ["log_softmax", "logsumexp", "softmax"],
    "derivatives": [
        "SoftmaxJacobian",
        "log_softmax_jacobian",
        "log_softmax_jvp",
        "log_softmax_vjp",
        "logsumexp_hessian",
        "softmax_jacobian",
        "softmax_jvp",
        "softmax_vjp",
    ],
    "losses": [
        "cross_entropy",
        "cross_entropy_and_grad",
        "cross_entropy_hvp",
        "entropy",
        "kl_divergence",
        "linear_cross_entropy",
        "linear_cross_entropy_and_grad",
    ],
    "classifiers": [
        "SoftmaxRegression",
        "SoftmaxRegressionCV",
        "load",
        "model_card",
        "reliability_table",
        "save",
        "softmax_path",
        "to_onnx",
        "write_report",
    ],
    "introspection": ["explain_dispatch", "show_config"],
}

# Arrays come first and by position; everything else by keyword.
SIGNATURES = {
    "softmax": "(x, /, *, axis, where, temperature, dtype, out, precision)",
    "log_softmax": "(x, /, *, axis, where, temperature, dtype, out, precision)",
    "logsumexp": "(x, /, *, axis, b, where, temperature, keepdims, return_sign, dtype, precision)",
    "softmax_jvp": "(x, v, /, *, axis, where, temperature)",
    "softmax_vjp": "(x, g, /, *, axis, where, temperature)",
    "log_softmax_jvp": "(x, v, /, *, axis, where, temperature)",
    "log_softmax_vjp": "(x, g, /, *, axis, where, temperature)",
    "cross_entropy": "(logits, target, /, *, axis, weight, ignore_index, label_smoothing, where, temperature, softcap, "
    "z_loss, reduction, precision)",
    "linear_cross_entropy": "(x, linear_weight, target, /, bias, *, weight, ignore_index, label_smoothing, where, "
    "temperature, softcap, z_loss, reduction, precision, memory_budget, return_extras, process_group)",
}


def test_the_list_of_public_names_is_sorted_and_holds_no_name_twice():
    assert sm.__all__ == sorted(set(sm.__all__))
    assert all(isinstance(name, str) for name in sm.__all__)


@pytest.mark.parametrize("name", sm.__all__)
def test_a_public_name_resolves_and_is_cached(name):
    value = getattr(sm, name)
    assert vars(sm)[name] is value


@pytest.mark.parametrize("name", sm.__all__)
def test_a_public_name_is_called_what_it_says(name):
    assert getattr(sm, name).__name__ == name


def test_what_is_defined_is_listed():
    defined = {name for name, value in vars(sm).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert defined - {"annotations", "Any", "TYPE_CHECKING"} <= set(sm.__all__)


def test_lazy_names_are_listed_and_shown_by_dir():
    assert set(sm._LAZY) <= set(sm.__all__) <= set(dir(sm))


def test_type_checkers_see_each_lazy_name_where_it_is_loaded_from():
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {**sm._LAZY, "nn": None}  # which is a module


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sm.no_such_name


@pytest.mark.parametrize(("group", "names"), PROMISED.items(), ids=PROMISED)
def test_promised_names_are_there(group, names):
    assert [name for name in names if name not in sm.__all__] == []


@pytest.mark.parametrize(("name", "expected"), SIGNATURES.items(), ids=SIGNATURES)
def test_signatures(name, expected):
    parameters = inspect.signature(getattr(sm, name)).parameters.values()
    bare = inspect.Signature([p.replace(default=p.empty, annotation=p.empty) for p in parameters])
    assert str(bare) == expected


def test_no_module_shares_its_name_with_a_function():
    modules = {path.stem for path in SOURCE.glob("*.py")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert modules.isdisjoint(sm.__all__)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_fits_in_the_head(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 650


def test_errors_are_what_a_caller_expects():
    errors = [getattr(sm, name) for name in sm.__all__ if name.endswith("Error") and name != "SoftmaxError"]
    assert errors
    for error in errors:
        assert issubclass(error, sm.SoftmaxError)
        assert issubclass(error, ValueError | TypeError | ImportError)


def test_the_package_is_typed_and_has_a_version():
    assert (SOURCE / "py.typed").is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", sm.__version__)
