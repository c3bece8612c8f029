"""Exact proofs: both sides as quotients of polynomials in the parts that are not taken apart."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

from . import _ast as ast
from ._ast import Node

Monomial: TypeAlias = tuple[tuple[int, int], ...]  # (number of the part, its power), sorted
Polynomial: TypeAlias = dict[Monomial, Fraction]
MOST_TERMS = 250
HIGHEST_POWER = 8


class _TooLargeError(Exception):
    pass


class Prover:
    """Holds the numbers of parts, which are the same on both sides."""

    def __init__(self, matrices: frozenset[str] = frozenset()) -> None:
        self.parts: dict[Node, int] = {}
        self.matrices = matrices  # names of vectors and matrices, whose products do not commute

    def equal(self, left: Node, right: Node) -> bool:
        """Whether the two are the same quotient of polynomials. False says nothing."""
        if left == right:
            return True
        try:
            (a, b), (c, d) = self._quotient(left), self._quotient(right)
            return bool(b) and bool(d) and _times(a, d) == _times(c, b)
        except _TooLargeError:
            return False

    def constant(self, node: Node) -> Fraction | None:
        """The value of an expression of numbers alone."""
        try:
            top, bottom = self._quotient(node)
        except _TooLargeError:
            return None
        if set(top) <= {()} and set(bottom) == {()}:
            return top.get((), Fraction(0)) / bottom[()]
        return None

    def _quotient(self, node: Node) -> tuple[Polynomial, Polynomial]:
        one: Polynomial = {(): Fraction(1)}
        if isinstance(node, ast.Num):
            return ({(): node.value} if node.value else {}), one
        if isinstance(node, ast.Neg):
            top, bottom = self._quotient(node.arg)
            return {key: -value for key, value in top.items()}, bottom
        if isinstance(node, ast.Add):
            (a, b), (c, d) = self._quotient(node.left), self._quotient(node.right)
            sign: Polynomial = {(): Fraction(node.sign)}
            return _plus(_times(a, d), _times(_times(c, b), sign)), _times(b, d)
        if isinstance(node, ast.Mul) and self._commutes(node):
            (a, b), (c, d) = self._quotient(node.left), self._quotient(node.right)
            return _times(a, c), _times(b, d)
        if isinstance(node, ast.Div) and self._commutes(node):
            (a, b), (c, d) = self._quotient(node.left), self._quotient(node.right)
            return _times(a, d), _times(b, c)
        if isinstance(node, ast.Pow) and self._commutes(node):
            power = self.constant(node.exponent)
            if power is not None and power.denominator == 1 and abs(power) <= HIGHEST_POWER:
                top, bottom = self._quotient(node.base)
                if power < 0:
                    top, bottom = bottom, top
                return _power(top, abs(int(power))), _power(bottom, abs(int(power)))
        number = self.parts.setdefault(node, len(self.parts))
        return {((number, 1),): Fraction(1)}, one

    def _commutes(self, node: Node) -> bool:
        return not self.matrices or not (ast.symbols(node) & self.matrices)


def _plus(a: Polynomial, b: Polynomial) -> Polynomial:
    out = dict(a)
    for key, value in b.items():
        total = out.get(key, Fraction(0)) + value
        if total:
            out[key] = total
        else:
            out.pop(key, None)
    return out


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    if len(a) * len(b) > MOST_TERMS * 8:
        raise _TooLargeError
    out: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            powers = dict(left)
            for part, power in right:
                powers[part] = powers.get(part, 0) + power
            key = tuple(sorted((part, power) for part, power in powers.items() if power))
            total = out.get(key, Fraction(0)) + x * y
            if total:
                out[key] = total
            else:
                out.pop(key, None)
    if len(out) > MOST_TERMS:
        raise _TooLargeError
    return out


def _power(a: Polynomial, power: int) -> Polynomial:
    out: Polynomial = {(): Fraction(1)}
    for _ in range(power):
        out = _times(out, a)
    return out
