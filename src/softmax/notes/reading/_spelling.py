"""The name that a link was most likely meant to have, among thousands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher

# Titles of notes on this field: a vault of one note has no other names to compare with.
_TERMS = """
activation function; attention; automatic differentiation; backpropagation; batch normalization; Bayes' theorem;
bias; Bernoulli distribution; binomial distribution; Boltzmann distribution; calibration; categorical distribution;
chain rule; classification; computational graph; conditional probability; confusion matrix; convex function;
convolution; covariance; cross entropy; cross validation; cumulative distribution function (CDF); decision boundary;
derivative; Dirichlet distribution; dropout; entropy; expectation; expected value; exponential family; exponential
function; feature; Fisher information; gradient; gradient descent; Hessian; independence; information theory;
Jacobian; Jensen's inequality; Kronecker delta; Kullback-Leibler divergence; label smoothing; Lagrange multiplier;
learning rate; likelihood; linear regression; log-likelihood; logarithm; logistic function; logistic regression;
logit; logsumexp; loss function; matrix; maximum a posteriori; maximum likelihood; maximum likelihood estimation;
mean squared error; multinomial distribution; multinomial logistic regression; mutual information; neural network;
Newton's method; norm; normal distribution; one-hot encoding; optimization; overfitting; perceptron; perplexity;
posterior probability; prior probability; probability; probability density function (PDF); probability mass function
(PMF); quotient rule; random variable; regression; regularization; sigmoid; sigmoid function; simplex; softmax;
softmax function; softmax regression; softplus; standard deviation; stochastic gradient descent; supervised
learning; support vector machine; temperature; transformer; unsupervised learning; variance; vector
"""
TERMS = tuple(" ".join(_TERMS.split()).split("; "))

_TRIPLE = re.compile(r"([a-z])\1\1")
_FEWEST_LETTERS = 5
_LARGEST_BUCKET = 2000


class Names:
    """Names that can be asked for the nearest to another one, in a time that does not grow with their number."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(dict.fromkeys(names))
        self._exact = {name.casefold() for name in self._names}
        self._by_triple: dict[str, list[int]] = {}
        for i, name in enumerate(self._names):
            for triple in _triples(name):
                self._by_triple.setdefault(triple, []).append(i)

    def __contains__(self, name: str) -> bool:
        return name.casefold() in self._exact

    def nearest(self, name: str, *, least: float = 0.85) -> str | None:
        """Return the nearest of the names with at least this ratio of common letters, or None."""
        if len(name) < _FEWEST_LETTERS:
            return None
        buckets = sorted((self._by_triple.get(triple, []) for triple in _triples(name)), key=len)
        shared = Counter(i for bucket in buckets[:12] if len(bucket) <= _LARGEST_BUCKET for i in bucket)
        best, score = None, least
        for i, _ in shared.most_common(30):
            ratio = SequenceMatcher(None, name.casefold(), self._names[i].casefold(), autojunk=False).ratio()
            if ratio >= score and self._names[i].casefold() != name.casefold():
                best, score = self._names[i], ratio
        return best


def _triples(name: str) -> set[str]:
    padded = f"  {name.casefold()} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


def untripled(name: str) -> str | None:
    """Return a name with three equal letters in a row made two, which no English word has; None if there are none."""
    fixed = _TRIPLE.sub(r"\1\1", name)
    return fixed if fixed != name else None
