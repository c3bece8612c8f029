"""Every kernel through every array library: the portable kernels give what they give on NumPy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax._kernels import portable
from softmax._typing import LossOptions


class Library:
    """An array library by name, with the ways in and out; skips where it is not installed."""

    def __init__(self, name: str, module: str, convert: Callable[[Any], Any]) -> None:
        self.name, self.module, self._convert = name, module, convert

    def asarray(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self._convert(value)
        if isinstance(value, LossOptions):
            fields = {name: self.asarray(getattr(value, name)) for name in LossOptions.__slots__}
            return LossOptions(**fields)
        return value


def _strict(x: Any) -> Any:
    return importlib.import_module("array_api_strict").asarray(x)


def _torch(x: Any) -> Any:
    return importlib.import_module("torch").from_numpy(x)


def _jax(x: Any) -> Any:
    return importlib.import_module("jax.numpy").asarray(x)


LIBRARIES = [
    Library("array_api_strict", "array_api_strict", _strict),
    Library("torch", "torch", _torch),
    Library("jax", "jax", _jax),
]


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(request.param.module, reason=f"needs {request.param.module}")
    if request.param.name == "jax":
        with importlib.import_module("jax").enable_x64(True):
            yield request.param
    else:
        yield request.param


SHAPE = (3, 5, 4)


def _arrays(dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(8)
    x = (5 * rng.normal(size=SHAPE)).astype(dtype)
    where = rng.random(SHAPE) < 0.7
    where[0, :, 0] = False
    target = rng.integers(0, 5, (3, 4))
    probabilities = np.moveaxis(rng.dirichlet(np.ones(5), (3, 4)), -1, 1).astype(dtype)
    g, b = rng.normal(size=(2, *SHAPE)).astype(dtype)
    return {
        "x": x,
        "g": g,
        "b": b,
        "where": where,
        "target": target,
        "probabilities": np.ascontiguousarray(probabilities),
        "weight": rng.random(5).astype(dtype),
        "scale": rng.random((3, 4)).astype(dtype),
    }


def _cases(a: dict[str, Any]) -> dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]]:
    x, g, z = a["x"], a["g"], a["x"] + 1j * a["g"]
    masked = {"where": a["where"], "temperature": 0.7}
    everything = LossOptions(
        weight=a["weight"], label_smoothing=0.1, temperature=2.0, softcap=5.0, z_loss=0.01, ignore_index=2
    )
    soft = LossOptions(label_smoothing=0.1, where=a["where"], weight=a["weight"])
    cases: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {}
    for name in ("softmax", "log_softmax", "logsumexp", "entropy"):
        cases[name] = name, (x, 1), {}
        cases[f"{name} masked"] = name, (x, 1), masked
    for name in ("softmax_vjp", "log_softmax_vjp", "log_softmax_jvp", "kl_divergence"):
        cases[name] = name, (x, g, 1), {}
        cases[f"{name} masked"] = name, (x, g, 1), masked
    cases["sign"] = "logsumexp", (x, 1), {"return_sign": True}
    cases["b"] = "logsumexp", (x, 1), {"b": a["b"]}
    cases["b, sign"] = "logsumexp", (x, 1), {"b": a["b"], "where": a["where"], "return_sign": True}
    cases["complex"] = "logsumexp", (z, 1), {"where": a["where"]}
    cases["complex, sign"] = "logsumexp", (z, 1), {"return_sign": True}
    cases["complex b"] = "logsumexp", (z, 1), {"b": a["b"] + 1j * g}
    keywords = {"want_grad": True, "row_scale": a["scale"]}
    cases["indices"] = "cross_entropy", (x, a["target"], 1, everything), keywords
    cases["probabilities"] = "cross_entropy", (x, a["probabilities"], 1, soft), {"want_grad": True}
    cases["hvp, indices"] = "cross_entropy_hvp", (x, a["target"], g, 1, everything), {"row_scale": a["scale"]}
    cases["hvp, probabilities"] = "cross_entropy_hvp", (x, a["probabilities"], g, 1, soft), {"row_scale": 2.0}
    return cases


def _compare(got: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for pair in zip(got, expected, strict=True):
            _compare(*pair)
        return
    assert str(got.dtype).rpartition(".")[2] == str(expected.dtype)
    assert tuple(got.shape) == expected.shape
    single = expected.dtype in (np.float32, np.complex64)
    tolerance = 3e-7 if single else 4e-15
    np.testing.assert_allclose(np.asarray(got), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", _cases(_arrays("float64")))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_portable_kernels(library: Library, dtype: str, case: str) -> None:
    name, arguments, keywords = _cases(_arrays(dtype))[case]
    expected = getattr(portable, name)(*arguments, **keywords)
    converted = {key: library.asarray(value) for key, value in keywords.items()}
    got = getattr(portable, name)(*map(library.asarray, arguments), **converted)
    _compare(got, expected)


def test_inputs_tell_results_apart() -> None:
    """Two cases must not agree by accident: the comparison above would then prove little."""
    results = {}
    for case, (name, arguments, keywords) in _cases(_arrays("float64")).items():
        result = getattr(portable, name)(*arguments, **keywords)
        results[case] = np.abs(np.asarray(result[0] if isinstance(result, tuple) else result))
    for first in results:
        for second in results:
            if (
                first < second
                and results[first].shape == results[second].shape
                and {first, second} != {"sign", "logsumexp"}
            ):
                assert not np.allclose(results[first], results[second]), (first, second)


@pytest.mark.parametrize("axis", [-1, 0, (0, 2), None], ids=str)
def test_public_functions_on_a_strict_namespace(axis: Any) -> None:
    xp = pytest.importorskip("array_api_strict", reason="needs array_api_strict")
    x = _arrays("float64")["x"]
    for name in ("softmax", "log_softmax", "logsumexp"):
        got = getattr(sm, name)(xp.asarray(x), axis=axis)
        assert isinstance(got, type(xp.asarray(x)))
        np.testing.assert_allclose(np.asarray(got), getattr(sm, name)(x, axis=axis), rtol=1e-14)
    integers = sm.softmax(xp.asarray(np.array([-128, 127], np.int8)))
    assert integers.dtype == xp.float64
    assert float(integers[1]) == 1.0
    assert float(integers[0]) == pytest.approx(np.exp(-255.0))
