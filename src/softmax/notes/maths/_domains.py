"""Random values for names that nothing defines: in the domain that a note declares, or on a ladder of guesses.

The ladder: all numbers; positive ones; between 0 and 1; and last what the letters usually stand for in this field,
which a verdict that rests on it says.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ._names import words

RUNGS = ("real", "positive", "unit")
USUAL = "usual"
# By letter, what a name usually is; used where a statement fails for all numbers.
_POSITIVE = words("sigma tau T lambda alpha beta gamma nu kappa epsilon C n N K m M")
_MASSES = words("p q pi t y hat:y hat:p tilde:y hat:q P Q")
_WORDS = {"pmf": "a probability mass function", "positive": "positive", "unit": "between 0 and 1",
          "spd": "symmetric and positive definite", "symmetric": "symmetric", "onehot": "one-hot",
          "orthogonal": "orthogonal"}  # fmt: skip


class Domains:
    """Draws values; `rung` is what undeclared names are taken for, `declared` what the note says of its names."""

    def __init__(self, rung: str, declared: Mapping[str, str], seed: int) -> None:
        self.rung, self.declared, self.seed = rung, declared, seed
        self.drawn: dict[str, str] = {}

    def generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng((zlib.crc32(name.encode("utf-8", "replace")), self.seed))

    def domain(self, name: str, rank: int) -> str:
        declared = self.declared.get(name, "")
        if declared:
            return declared
        if self.rung == USUAL:
            return usual_domain(name, rank) or "real"
        return self.rung

    def draw(self, name: str, points: int, shape: tuple[int, ...]) -> Any:
        """Values of a name at all points, of the given shape each."""
        domain = self.domain(name, len(shape))
        self.drawn[name] = domain
        return _remembered(domain, name, self.seed, (points, *shape))

    def table(self, what: str, shape: tuple[int, ...]) -> Any:
        """Real values under a name of their own: of a random variable, or coefficients."""
        return _remembered("normal", what, self.seed, shape)


@lru_cache(maxsize=4096)
def _remembered(domain: str, name: str, seed: int, shape: tuple[int, ...]) -> Any:
    """Draw once what depends on nothing else: the same letters stand in most notes."""
    generator = np.random.default_rng((zlib.crc32(name.encode("utf-8", "replace")), seed))
    values = draw(domain, generator, shape, len(shape) - 1)
    values.flags.writeable = False
    return values


def draw(domain: str, generator: np.random.Generator, shape: tuple[int, ...], rank: int) -> Any:
    """Draw from a domain."""
    if domain == "real":
        return generator.normal(size=shape) * 1.1
    if domain == "positive":
        return np.exp(generator.normal(size=shape) * 0.7)
    if domain == "unit":
        return generator.uniform(0.08, 0.92, shape)
    if domain == "above one":
        return 1.0 + np.exp(generator.normal(size=shape) * 0.7)
    if domain == "negative":
        return -np.exp(generator.normal(size=shape) * 0.7)
    if domain == "integer":
        return generator.integers(3, 8, shape).astype(float)
    if domain == "binary":
        return generator.integers(0, 2, shape).astype(float)
    if domain == "pmf":
        if rank == 0:
            return generator.uniform(0.08, 0.92, shape)
        values = np.exp(generator.normal(size=shape))
        return values / values.sum(axis=-1, keepdims=True)
    if domain == "onehot" and rank:
        hot = generator.integers(0, shape[-1], shape[:-1])
        return (hot[..., None] == np.arange(shape[-1])).astype(float)
    if domain == "onehot":
        return generator.integers(0, 2, shape).astype(float)
    if domain in ("symmetric", "spd") and rank == 2 and shape[-1] == shape[-2]:
        values = generator.normal(size=shape)
        if domain == "symmetric":
            return (values + np.swapaxes(values, -1, -2)) / 2
        return values @ np.swapaxes(values, -1, -2) / shape[-1] + 0.5 * np.eye(shape[-1])
    if domain == "orthogonal" and rank == 2 and shape[-1] == shape[-2]:
        return np.linalg.qr(generator.normal(size=shape))[0]
    if domain in ("symmetric", "spd"):
        return np.exp(generator.normal(size=shape) * 0.7)
    if domain == "sum zero" and rank:
        values = generator.normal(size=shape)
        return values - values.mean(axis=-1, keepdims=True)
    return generator.normal(size=shape)


def usual_domain(name: str, rank: int) -> str | None:
    """What a letter usually stands for, or None."""
    letter = name.partition("_")[0].rstrip("*'")
    if rank == 2:
        if letter in ("Sigma", "Lambda", "Omega", "K", "hat:Sigma"):
            return "spd"
        if letter in ("U", "V", "Q"):
            return "orthogonal"
        return "pmf" if letter in _MASSES else None
    if rank == 1 and letter in _MASSES:
        return "pmf"
    if letter in ("p", "q", "pi", "hat:p", "hat:y", "theta"):
        return "unit"
    return "positive" if letter in _POSITIVE else None


def words_for(drawn: Mapping[str, str], declared: Mapping[str, str]) -> str:
    """Say what was assumed beyond what the note declares."""
    parts = [
        f"{shown(name)} {_WORDS[domain]}"
        for name, domain in sorted(drawn.items())
        if domain in _WORDS and name not in declared
    ]
    return ", ".join(parts)


def shown(name: str) -> str:
    """A name as a reader would write it."""
    accent, colon, letter = name.partition(":")
    return f"{letter} with {accent}" if colon and accent not in ("cal", "bb") else (letter if colon else name)
