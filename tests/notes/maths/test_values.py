"""The evaluator against NumPy: derivatives against differences, functions of the library, vectors and matrices."""

from __future__ import annotations

import numpy as np
import pytest

import softmax as sm
from softmax.notes.maths import _dual as dual
from softmax.notes.maths._dual import Dual
from tests.notes.maths.helpers import verdicts

H = 1e-6
SMOOTH = {
    "exp": dual.exp, "log": dual.log, "sqrt": dual.sqrt, "sin": dual.sin, "cos": dual.cos, "tan": dual.tan,
    "sinh": dual.sinh, "cosh": dual.cosh, "tanh": dual.tanh, "arcsin": dual.arcsin, "arccos": dual.arccos,
    "arctan": dual.arctan, "artanh": dual.artanh, "sigmoid": dual.sigmoid, "logit": dual.logit,
    "softplus": dual.softplus, "erf": dual.erf, "square": dual.square, "reciprocal": dual.reciprocal,
    "absolute": dual.absolute,
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_a_slope_is_the_limit_of_differences(name):
    function, x = SMOOTH[name], np.linspace(0.1, 0.9, 7)
    found = function(Dual(x, np.ones(7), 1))
    np.testing.assert_allclose(found.value, function(x))
    np.testing.assert_allclose(found.slope, (function(x + H) - function(x - H)) / (2 * H), rtol=1e-6)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_second_derivative_is_the_slope_of_the_slope(name):
    function, x = SMOOTH[name], np.linspace(0.15, 0.85, 5)

    def slope(at):
        return dual.slope_of(function(Dual(at, np.ones(5), 2)), 2)

    nested = dual.slope_of(slope(Dual(x, np.ones(5), 1)), 1)
    np.testing.assert_allclose(nested, (slope(x + H) - slope(x - H)) / (2 * H), rtol=1e-5, atol=1e-7)


def test_nested_directions_do_not_mix():
    # d/dx (x * d/dy (x + y)) = 1, which is 2 where the two directions are taken for one
    x = Dual(np.asarray(3.0), np.ones(()), 1)
    y = Dual(np.asarray(4.0), np.ones(()), 2)
    inner = dual.slope_of(dual.add(x, y), 2)
    assert dual.slope_of(dual.mul(x, inner), 1) == 1.0


@pytest.mark.parametrize("function", ["inverse", "determinant"])
def test_slopes_of_matrix_functions(function):
    rng = np.random.default_rng(1)
    apply = getattr(dual, function)
    a, direction = rng.normal(size=(4, 3, 3)) + 3 * np.eye(3), rng.normal(size=(4, 3, 3))
    found = apply(Dual(a, direction, 1)).slope
    np.testing.assert_allclose(found, (apply(a + H * direction) - apply(a - H * direction)) / (2 * H), rtol=1e-5)


def test_an_inverse_with_no_right_digits_has_no_value():
    assert np.isnan(dual.inverse(np.ones((1, 3, 3)) + 1e-12 * np.eye(3))).all()


def test_the_library_is_called(monkeypatch):
    called = []
    real = sm.softmax
    monkeypatch.setattr(sm, "softmax", lambda x: called.append(x.shape) or real(x))
    assert verdicts(r"\sum_i \mathrm{softmax}(z)_i = 1 + 0 z_1") == ["consistent"]
    assert called


@pytest.mark.parametrize(
    "display",
    [
        r"\frac{\partial}{\partial z_j} \mathrm{softmax}(z)_i = \lim_{h} 0",
        r"x_i = \arg\max_k z_k",
        r"\oint f = 0",
    ],
)
def test_what_has_no_meaning_is_not_understood(display):
    assert verdicts(display) == ["not understood"]


@pytest.mark.parametrize(
    "display",
    [
        r"\partial_x f(x) = f'(x)",
        r"\frac{\partial f(x, y)}{\partial x} = \partial_x f(x, y)",
        r"\frac{\partial^2 f(x, y)}{\partial x \partial y} = \frac{\partial^2 f(x, y)}{\partial y \partial x}",
        r"\frac{d^2}{dx^2} e^{2x} = 4 e^{2x}",
        r"\nabla_w (w^\top x) = x",
        r"\nabla^2_w \frac{1}{2} w^\top w = I",
        r"\frac{\partial\, w^\top X}{\partial w} = X",
        r"\nabla_W \operatorname{tr}(W^\top A) = A",
        r"\frac{\partial}{\partial W_{ij}} \sum_k \sum_l W_{kl}^2 = 2 W_{ij}",
        r"\operatorname{diag}(x) y = x \odot y",
        r"\|x\|_2^2 = x^\top x",
        r"\|x\|_1 = \sum_i |x_i|",
        r"\|A\|_F^2 = \operatorname{tr}(A^\top A)",
        r"\det(A B) = \det A \det B",
        r"\mathbf{1}^\top x = \sum_i x_i",
        r"e_i^\top x = x_i",
        r"(I + u v^\top)^{-1} = I - \frac{u v^\top}{1 + v^\top u}",
        r"\sum_{i<j} x_i x_j = \frac{1}{2} \left( \left(\sum_i x_i\right)^2 - \sum_i x_i^2 \right)",
        r"\sum_{k \neq i} x_k = \sum_k x_k - x_i",
        r"\sum_{i,j} x_i y_j = \sum_i x_i \sum_j y_j",
        r"\prod_{k=1}^n e^{x_k} = e^{\sum_{k=1}^n x_k}",
        r"\sum_{i=1}^{n-1} (x_{i+1} - x_i) = x_n - x_1",
        r"\max(a, b) = \frac{a + b + |a - b|}{2}",
        r"\begin{pmatrix} a & b \end{pmatrix} \begin{pmatrix} x \\ y \end{pmatrix} = ax + by",
        r"\begin{vmatrix} a & b \\ c & d \end{vmatrix} = ad - bc",
        r"[x > 0] = 1 - [x \le 0]",
        r"\mathbf{1}_{\{i = j\}} = \delta_{ij}",
        r"\int_0^1 x^2 \, dx = \frac{1}{3}",
        r"\int_a^b f'(x) \, dx = f(b) - f(a)",
        r"\int_0^\infty \lambda e^{-\lambda x} dx = 1",
        r"x^{(i)}_j + x^{(k)}_j = x^{(k)}_j + x^{(i)}_j",
        r"\underbrace{x + x}_{\text{twice}} = 2 {\color{red} x}",
        r"x ~=~ x",
        r"\log_2 8 = 3",
        r"|x|^2 = x^2",
        r"\sin^{-1}(\sin 0.3) = 0.3",
        r"\mathbb{E}[X - \mathbb{E}[X]] = 0",
        r"P(A \cup B) = P(A) + P(B) - P(A \cap B)",
    ],
)
def test_what_holds_holds(display):
    assert set(verdicts(display)) <= {"consistent", "proved"} and verdicts(display)
