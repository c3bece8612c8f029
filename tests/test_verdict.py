"""The verdict on separation names the classes and the features that are meant."""

import numpy as np
import pytest
import scipy.sparse

from softmax._verdict import separation_verdict


def three_classes():
    """Class 0 has x0 < 0, the others x0 > 0; x1 is noise, x2 is 0."""
    rng = np.random.default_rng(3)
    codes = np.repeat([0, 1, 2], 30)
    X = np.column_stack([np.where(codes == 0, -1.0, 1.0) * rng.uniform(1, 2, 90), rng.normal(size=90), np.zeros(90)])
    return X, codes


@pytest.mark.parametrize("wrap", [np.asarray, scipy.sparse.csr_array])
def test_one_class_against_the_others(wrap):
    X, codes = three_classes()
    direction = np.array([[-2.0, 0, 0, 0], [1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    verdict = separation_verdict(direction, wrap(X), codes)
    assert (verdict.complete, verdict.quasi, verdict.features) == ([(0, 1), (0, 2)], [], [0])
    assert verdict.words(["a", "b", "c"], ["x0", "x1", "x2"]) == "'x0' separates 'a' from all other classes completely"


def test_rows_on_the_border():
    X, codes = three_classes()
    X[[0, 40], 0] = 0.0
    direction = np.array([[-2.0, 0, 0, 0], [1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    verdict = separation_verdict(direction, X, codes)
    assert (verdict.complete, verdict.quasi) == ([], [(0, 1), (0, 2)])
    assert verdict.words("abc", ["x0", "x1", "x2"]).endswith(
        "separates 'a' from all other classes but for rows on the border"
    )
    assert separation_verdict(-direction, X, codes).quasi == []


def test_two_features_and_an_intercept():
    X, codes = three_classes()
    codes = (X[:, 0] + 0.5 * X[:, 1] > 0.3).astype(int)
    direction = np.array([[-1.0, -0.5, 0.0, 0.3], [1.0, 0.5, 0.0, -0.3]])
    verdict = separation_verdict(direction, X, codes)
    assert verdict.complete == [(0, 1)] and verdict.features == [0, 1]
    assert verdict.words("ab", ["x0", "x1", "x2"]) == "'x0', 'x1' together separate 'a' from 'b' completely"


def test_many_pairs_and_features_are_counted():
    n = 8
    X, codes = np.repeat(np.eye(n), 2, axis=0), np.repeat(np.arange(n), 2)
    direction = np.column_stack([np.diag(np.arange(1.0, n + 1)), np.zeros(n)])
    words = separation_verdict(direction, X, codes).words(list("abcdefgh"), [f"x{j}" for j in range(n)])
    assert words.startswith("'x7', 'x6', 'x5', 'x4' and 4 more together separate 'a' from all other classes, ")
    assert " more pairs completely" in words
