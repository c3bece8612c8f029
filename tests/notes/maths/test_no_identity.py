"""True statements that do not hold everywhere: conditions, models, recurrences. None of them is refuted."""

from __future__ import annotations

import pytest

from tests.notes.maths.helpers import verdicts

STATEMENTS = [
    r"\theta_{t+1} = \theta_t - \eta \nabla L(\theta_t)",
    r"x_{n+1} = x_n - \frac{f(x_n)}{f'(x_n)}",
    r"T(n) = 2 T(n/2) + n",
    r"f(x + y) = f(x) + f(y)",
    r"f(-x) = f(x)",
    r"f'(x) = f(x)",
    r"f''(x) = -\omega^2 f(x)",
    r"\frac{d f(x)}{dx} = a f(x)",
    r"\mathbb{E}[X] = \sum_x x p(x)",
    r"\mathbb{E}[X] = \int x f(x) \, dx",
    r"\mathbb{E}[X] = n p",
    r"\mathrm{Var}(X) = \sigma^2",
    r"\mathrm{Cov}(X, Y) = 0",
    r"p(y) = p^y (1 - p)^{1 - y}",
    r"P(X = k) = \binom{n}{k} p^k (1 - p)^{n - k}",
    r"P(A \cap B) = P(A) P(B)",
    r"\log p(y \mid x) = y \log \hat{p} + (1 - y) \log (1 - \hat{p})",
    r"p(x) = \frac{1}{Z} e^{-E(x)}",
    r"\int \frac{1}{1 + x^2} dx = \arctan x + C",
    r"\int x^2 dx = \frac{x^3}{3} + C",
    r"e^{ix} = \cos x + i \sin x",
    r"e^{i\pi} + 1 = 0",
    r"P^2 = P",
    r"A^\top = -A",
    r"AB = BA",
    r"A^\top A = I",
    r"A v = \lambda v",
    r"\|w\| = 1",
    r"\sum_i w_i = 1",
    r"w^\top x + b = 0",
    r"\nabla_w \mathcal{L} = 0",
    r"3x + 2 = 11",
    r"v^2 = u^2 + 2 a s",
    r"E = m c^2",
    r"y = w^\top x + b",
    r"x^2 = 2 \Rightarrow x = \sqrt{2}",
    r"a \equiv b \pmod n",
    r"f(n) = O(n^2)",
    r"n! \approx \sqrt{2 \pi n} \left( \frac{n}{e} \right)^n",
    r"f \colon \mathbb{R}^n \to \mathbb{R}, \quad f(x) = x^\top x",
    r"x \sim \mathcal{N}(\mu, \sigma^2)",
    r"\hat{\theta} = \arg\max_\theta \log L(\theta)",
    r"H(X, Y) = H(X) + H(Y \mid X)",
    r"\lambda \geq 0",
    r"f(\lambda x + (1 - \lambda) y) \le \lambda f(x) + (1 - \lambda) f(y)",
    r"x \approx y",
    r"1 + 2 + \dots + n = \frac{n(n+1)}{2}",
    r"\mathrm{rank}(A) = r",
    r"S = \{x : f(x) = 0\}",
    r"(a, b) = (c, d)",
    r"\dot{x} = A x",
    r"y' = y",
    r"z = x + iy",
    r"\mathcal{D} = \{(x_i, y_i)\}_{i=1}^n",
    r"i = 1, \dots, n",
    r"k = \arg\max_j z_j",
]


@pytest.mark.parametrize("display", STATEMENTS)
def test_it_is_not_refuted(display):
    assert not {"refuted", "malformed"} & set(verdicts(display))


@pytest.mark.parametrize(
    ("display", "before"),
    [
        (r"A^\top A = V \Sigma^2 V^\top", r"$$A = U \Sigma V^\top$$"),
        (r"Q^\top A Q = \Lambda", "$$A = Q \\Lambda Q^\\top$$\n\nwith $Q^\\top Q = I$"),
        (r"\mathrm{Var}(\hat\mu) = \frac{\sigma^2}{n}", r"$$\hat\mu = \frac{1}{n} \sum_i X_i$$"),
        (r"(x - \mu)^\top (x - \mu) = x^\top x - 2 \mu^\top x + \mu^\top \mu", r"$x \in \mathbb{R}^d$"),
    ],
)
def test_with_what_the_note_says_it_is_not_refuted_either(display, before):
    assert not {"refuted", "malformed"} & set(verdicts(display, before))
