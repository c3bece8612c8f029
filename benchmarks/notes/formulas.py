"""Formulas of the field with names and numbers drawn at random, so that hardly two of them are the same text.

A formula is a list of rows that all equal one another; with ``wrong=True`` one of them does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple


class Names(NamedTuple):
    """The letters and numbers of one formula."""

    z: str  # a vector
    u: str  # another one, or a variable
    i: str
    j: str
    k: str
    a: int
    b: int


def draw(rng: random.Random) -> Names:
    """Return names that do not clash."""
    z, u = rng.sample(["z", "x", "s", "v", "y", "w", "t", "r"], 2)
    i, j, k = rng.sample(["i", "j", "k", "l", "m"], 3)
    return Names(z, u, i, j, k, rng.randint(2, 9), rng.randint(2, 9))


Rows = list[str]


def _softmax(n: Names) -> str:
    return rf"\frac{{\exp({n.z}_{n.i})}}{{\sum_{n.k} \exp({n.z}_{n.k})}}"


def _derivative(n: Names, wrong: bool) -> Rows:
    power = "-2" if wrong else "2"
    total = rf"\sum_{n.k} \exp({n.z}_{n.k})"
    last = rf"\frac{{\exp({n.z}_{n.i})}}{{\left({total}\right)^{{{power}}}}} \exp({n.z}_{n.j})"
    return [
        rf"\frac{{\partial}}{{\partial {n.z}_{n.j}}} {_softmax(n)}",
        rf"\mathrm{{I}}[{n.i} = {n.j}] {_softmax(n)} - {last}",
    ]


def _shift(n: Names, wrong: bool) -> Rows:
    constant = n.a + 1 if wrong else n.a
    return [
        rf"\frac{{\exp({n.z}_{n.i} + {n.a})}}{{\sum_{n.k} \exp({n.z}_{n.k} + {constant})}}",
        rf"\frac{{\exp({n.a}) \exp({n.z}_{n.i})}}{{\exp({n.a}) \sum_{n.k} \exp({n.z}_{n.k})}}",
        _softmax(n),
    ]


def _log_softmax(n: Names, wrong: bool) -> Rows:
    sign = "+" if wrong else "-"
    return [rf"\log {_softmax(n)}", rf"{n.z}_{n.i} {sign} \log \sum_{n.k} \exp({n.z}_{n.k})"]


def _gradient_of_lse(n: Names, wrong: bool) -> Rows:
    result = rf"\exp({n.z}_{n.i}) \sum_{n.k} \exp({n.z}_{n.k})" if wrong else _softmax(n)
    return [rf"\frac{{\partial}}{{\partial {n.z}_{n.i}}} \log \sum_{n.k} \exp({n.z}_{n.k})", result]


def _square(n: Names, wrong: bool) -> Rows:
    last = n.a * n.a + 1 if wrong else n.a * n.a
    return [rf"({n.u} + {n.a})^2", rf"{n.u}^2 + {2 * n.a} {n.u} + {last}"]


def _binomial(n: Names, wrong: bool) -> Rows:
    sign = "+" if wrong else "-"
    return [rf"({n.a} {n.u} + {n.b})({n.a} {n.u} - {n.b})", rf"{n.a * n.a} {n.u}^2 {sign} {n.b * n.b}"]


def _logistic(n: Names, wrong: bool) -> Rows:
    sign = "-" if wrong else ""
    return [
        rf"\frac{{1}}{{1 + e^{{-{n.a} {n.u}}}}}",
        rf"\frac{{e^{{{n.a} {n.u}}}}}{{1 + e^{{{sign}{n.a} {n.u}}}}}",
    ]


def _logistic_slope(n: Names, wrong: bool) -> Rows:
    power = "" if wrong else "^2"
    return [
        rf"\frac{{d}}{{d{n.u}}} \frac{{1}}{{1 + e^{{-{n.u}}}}}",
        rf"\frac{{e^{{-{n.u}}}}}{{\left(1 + e^{{-{n.u}}}\right){power}}}",
    ]


def _norm(n: Names, wrong: bool) -> Rows:
    factor = n.a if wrong else 2 * n.a
    return [
        rf"\frac{{\partial}}{{\partial {n.z}_{n.i}}} {n.a} \sum_{n.k} {n.z}_{n.k}^2",
        rf"{factor} {n.z}_{n.i}",
    ]


def _variance(n: Names, wrong: bool) -> Rows:
    def mean(what: str, index: str) -> str:
        return rf"\frac{{1}}{{n}} \sum_{{{index}=1}}^{{n}} {what}"

    entry, power = f"{n.z}_{n.k}", "" if wrong else "^2"
    centred = rf"\left({entry} - {mean(f'{n.z}_{n.j}', n.j)}\right)^2"
    square = f"{entry}^2"
    return [
        f"{n.a} {mean(centred, n.k)}",
        rf"{n.a} {mean(square, n.k)} - {n.a} \left({mean(entry, n.k)}\right){power}",
    ]


def _chain(n: Names, wrong: bool) -> Rows:
    inner = rf"{n.a} {n.u}^2 + {n.b}"
    return [rf"\frac{{d}}{{d{n.u}}} \log({inner})", rf"\frac{{{n.a if wrong else 2 * n.a} {n.u}}}{{{inner}}}"]


def _cross_entropy(n: Names, wrong: bool) -> Rows:
    sign = "+" if wrong else "-"
    return [
        rf"\frac{{\partial}}{{\partial {n.z}_{n.i}}} \left(\log \sum_{n.k} \exp({n.z}_{n.k}) - {n.z}_{n.j}\right)",
        rf"{_softmax(n)} {sign} \mathrm{{I}}[{n.i} = {n.j}]",
    ]


def _geometric(n: Names, wrong: bool) -> Rows:
    return [
        rf"\sum_{{{n.k}=0}}^{{{n.a}}} {n.u}^{n.k}",
        rf"\frac{{1 - {n.u}^{{{n.a if wrong else n.a + 1}}}}}{{1 - {n.u}}}",
    ]


TEMPLATES: tuple[Callable[[Names, bool], Rows], ...] = (
    _derivative,
    _shift,
    _log_softmax,
    _gradient_of_lse,
    _square,
    _binomial,
    _logistic,
    _logistic_slope,
    _norm,
    _variance,
    _chain,
    _cross_entropy,
    _geometric,
)


def display(rng: random.Random, *, wrong: bool = False) -> str:
    """Return a display: one line, or rows of a split."""
    rows = rng.choice(TEMPLATES)(draw(rng), wrong)
    if len(rows) == 2 and rng.random() < 0.5:
        return f"$$\n{rows[0]} = {rows[1]}\n$$"
    body = " \\\\\n".join([f"{rows[0]}\n&= {rows[1]}", *(f"&= {row}" for row in rows[2:])])
    return f"$$\n\\begin{{split}}\n{body}\n\\end{{split}}\n$$"


def inline(rng: random.Random) -> str:
    """Return a short formula within a line, seldom one with a claim in it."""
    n = draw(rng)
    return rng.choice(
        (
            rf"${n.z} \in \mathbb{{R}}^{n.a}$",
            rf"${n.z}_{n.i}$",
            rf"$\exp({n.z}_{n.i})$",
            rf"$({n.u} + {n.a})^2 = {n.u}^2 + {2 * n.a} {n.u} + {n.a * n.a}$",
            rf"$\sum_{n.k} {n.z}_{n.k}$",
            rf"$\frac{{{n.a}}}{{{n.b}}}$",
        )
    )
