"""SoftmaxJacobian: every closed form against mpmath with p down to 1e-300, and the rules of its products."""

from __future__ import annotations

import numpy as np
import pytest

import softmax as sm
from tests.accuracy import backends, find_backend
from tests.ulp import as_float64

mp = pytest.importorskip("mpmath").mp


@pytest.fixture
def backend(request):
    return find_backend(request.param)


@pytest.fixture(autouse=True)
def digits():
    """Enough for p² of 1e-600 beside 1."""
    with mp.workdps(700):
        yield


LOGITS = {
    "one": [3.0],
    "two": [0.3, -0.2],
    "ties": [0.0, 0.0, 0.0],
    "plain": [0.3, -1.2, 2.2, 0.1, -0.7],
    "peaked": [0.0, -36.0, -37.0],
    "1e-300": [0.0, -690.0, -1.0, -300.0, -1.0, -690.0],
    "descending": [0.0, -100.0, -500.0, -690.0],
    "ascending": [-690.0, -500.0, -100.0, 0.0],
}


class Truth:
    """The matrices in 700 digits."""

    def __init__(self, logits):
        e = [mp.exp(mp.mpf(v)) for v in logits]
        self.p = [v / mp.fsum(e) for v in e]
        self.n = len(e)
        self.tail = [mp.fsum(self.p[j:]) for j in range(self.n)] + [mp.mpf(0)]
        self.matrix = self.build(lambda i, j: self.p[i] * self.rest(i) if i == j else -self.p[i] * self.p[j])

    def rest(self, i):
        return mp.fsum(p for k, p in enumerate(self.p) if k != i)

    def build(self, entry):
        return mp.matrix([[entry(i, j) for j in range(self.n)] for i in range(self.n)])

    def toarray(self):
        return self.matrix

    def pinv(self):
        centre = mp.eye(self.n) - mp.ones(self.n) / self.n
        return centre * mp.diag([1 / v for v in self.p]) * centre

    def sqrt(self):
        return self.build(lambda i, j: mp.sqrt(self.p[j]) * (self.rest(i) if i == j else -self.p[i]))

    def cholesky(self):
        return mp.cholesky(self.matrix[:-1, :-1]) if self.n > 1 else mp.matrix(0)


def relative_error(got, truth):
    """The largest error relative to its entry; what lies below 1e-300 only has to be below 2e-300."""
    worst = 0.0
    for index in np.ndindex(got.shape):
        value, exact = mp.mpf(float(got[index])), truth[index]
        if abs(exact) < mp.mpf("1e-300"):
            assert abs(value) < mp.mpf("2e-300")
        else:
            worst = max(worst, float(abs(value - exact) / abs(exact)))
    return worst


@pytest.fixture(params=LOGITS)
def logits(request):
    return LOGITS[request.param]


@pytest.fixture
def truth(logits):
    return Truth(logits)


def test_the_matrix(logits, truth):
    assert relative_error(sm.SoftmaxJacobian(logits).toarray(), truth.matrix) < 1e-15


def test_the_pseudo_inverse(logits, truth):
    got = sm.SoftmaxJacobian(logits).pinv().toarray()
    exact = truth.pinv()
    # Entries may cancel: the smallest of a matrix without extreme p loses a digit.
    assert relative_error(got, exact) < 1e-14
    product = truth.matrix * exact * truth.matrix
    assert float(mp.mnorm(product - truth.matrix)) < 1e-300  # the closed form itself


def test_the_square_root(logits, truth):
    got, exact = sm.SoftmaxJacobian(logits).sqrt().toarray(), truth.sqrt()
    assert relative_error(got, exact) < 2e-15
    assert float(mp.mnorm(exact * exact.T - truth.matrix)) < 1e-300


def test_the_cholesky_factor(logits, truth):
    got, exact = sm.SoftmaxJacobian(logits).cholesky().toarray(), truth.cholesky()
    assert (np.triu(got, 1) == 0).all()
    assert (np.diag(got) >= 0).all()
    assert got[-1, -1] == 0
    n = truth.n - 1
    assert relative_error(got[:n, :n], exact) < 2e-15
    for j in range(n):  # the last row, which follows from the rows summing to 0
        last = -mp.fsum(exact[i, j] for i in range(n))
        assert float(abs(mp.mpf(float(got[n, j])) - last)) <= 2e-15 * float(abs(last)) + 1e-300


def test_the_logarithm_of_the_pseudo_determinant(logits, truth):
    exact = mp.fsum(mp.log(p) for p in truth.p) + mp.log(truth.n)
    got = float(sm.SoftmaxJacobian(logits).logpdet())
    assert abs(got - float(exact)) <= 4e-16 * (1 + abs(float(exact)))
    if truth.n > 1:
        values = sorted(mp.eigsy(truth.matrix, eigvals_only=True))[1:]
        assert float(abs(mp.fsum(map(mp.log, values)) - exact)) < 1e-12


def test_the_eigenvalues(logits, truth):
    got = sm.SoftmaxJacobian(logits).eigvalsh()
    assert (np.diff(got) >= 0).all()
    assert got[0] == 0
    if truth.n > 1:
        exact = sorted(mp.eigsy(truth.matrix, eigvals_only=True))
        assert relative_error(got[1:, None], mp.matrix(exact[1:])) < 1e-15


@pytest.mark.parametrize("n", [2, 100, 700])
def test_the_eigenvalues_of_many_classes(n, rng):
    x = 3 * rng.normal(size=n)
    dense = np.linalg.eigvalsh(sm.softmax_jacobian(x))
    np.testing.assert_allclose(sm.SoftmaxJacobian(x).eigvalsh(), dense, rtol=1e-14, atol=1e-16)


def test_the_search_for_eigenvalues_works_in_blocks(monkeypatch, rng):
    x = rng.normal(size=40)
    whole = sm.SoftmaxJacobian(x).eigvalsh()
    monkeypatch.setattr("softmax._jacobian._BLOCK", 80)
    np.testing.assert_array_equal(sm.SoftmaxJacobian(x).eigvalsh(), whole)


# Products

PARTS = {
    "matrix": lambda a: a,
    "pinv": lambda a: a.pinv(),
    "sqrt": lambda a: a.sqrt(),
    "sqrt.T": lambda a: a.sqrt().T,
    "cholesky": lambda a: a.cholesky(),
    "cholesky.T": lambda a: a.cholesky().T,
}
PART = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)


@backends()
@PART
def test_products_equal_those_of_the_dense_matrix(backend, part, rng):
    x = 2 * rng.normal(size=(3, 6))
    with backend.context():
        matrix = part(sm.SoftmaxJacobian(backend.array(x)))
        dense = as_float64(matrix.toarray())
        assert dense.shape == tuple(matrix.shape) == (3, 6, 6)
        for shape in [(6,), (6, 2), (3, 6, 2), (2, 1, 6, 4)]:
            v = rng.normal(size=shape)
            np.testing.assert_allclose(as_float64(matrix @ backend.array(v)), dense @ v, rtol=1e-12, atol=1e-14)


@PART
def test_products_from_the_left(part, rng):
    matrix = part(sm.SoftmaxJacobian(2 * rng.normal(size=(3, 6))))
    for shape in [(6,), (2, 6), (3, 2, 6)]:
        v = rng.normal(size=shape)
        np.testing.assert_allclose(v @ matrix, v @ matrix.toarray(), rtol=1e-12, atol=1e-14)


@PART
def test_the_transpose(part, rng):
    matrix = part(sm.SoftmaxJacobian(rng.normal(size=5)))
    np.testing.assert_array_equal(matrix.T.toarray(), matrix.toarray().T)
    np.testing.assert_array_equal(matrix.T.T.toarray(), matrix.toarray())


@pytest.mark.parametrize("logits", [LOGITS["1e-300"], LOGITS["peaked"]], ids=["1e-300", "peaked"])
@pytest.mark.parametrize("factor", ["sqrt", "cholesky"])
def test_factors_give_the_matrix_back(factor, logits):
    matrix = sm.SoftmaxJacobian(logits)
    part = getattr(matrix, factor)()
    product = part @ part.T.toarray()
    np.testing.assert_allclose(product, matrix.toarray(), rtol=0, atol=1e-15 * matrix.toarray().max())


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_a_product_does_not_see_an_offset(offset):
    matrix, v = sm.SoftmaxJacobian([0.0, -20.0, -21.0]), np.array([0.5, 1.5, -0.25])
    shifted = (v + offset) - offset  # the same differences, exactly
    np.testing.assert_allclose(matrix @ (shifted + offset), matrix @ shifted, rtol=1e-14)


def test_it_is_the_dense_jacobian(rng):
    x = rng.normal(size=(2, 3, 4))
    for axis in (-1, 0, (0, 2), None):
        np.testing.assert_array_equal(sm.SoftmaxJacobian(x, axis=axis).toarray(), sm.softmax_jacobian(x, axis=axis))


def test_probabilities_of_zero_are_left_out():
    matrix, smaller = sm.SoftmaxJacobian([0.0, -np.inf, 1.0]), sm.SoftmaxJacobian([0.0, 1.0])
    kept = np.ix_([0, 2], [0, 2])
    for part in PARTS.values():
        dense = part(matrix).toarray()
        np.testing.assert_allclose(dense[kept], part(smaller).toarray(), rtol=1e-15)
        assert (dense[1] == 0).all()
        assert (dense[:, 1] == 0).all()
    assert matrix.logpdet() == smaller.logpdet()
    np.testing.assert_array_equal(matrix.eigvalsh(), [0.0, *smaller.eigvalsh()])


def test_a_row_without_a_softmax_is_nan():
    matrix = sm.SoftmaxJacobian([[np.inf, 0.0], [0.0, 0.0]])
    assert np.isnan(matrix.eigvalsh()[0]).all()
    assert np.isnan(matrix.toarray()[0]).all()
    assert np.isnan(matrix.pinv().toarray()[0]).all()
    np.testing.assert_allclose(matrix.eigvalsh()[1], [0.0, 0.5])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_results_have_the_dtype_of_the_logits(dtype):
    matrix = sm.SoftmaxJacobian(np.array([0.0, 1.0, 2.0], dtype))
    assert matrix.dtype == dtype
    assert {part(matrix).toarray().dtype for part in PARTS.values()} == {np.dtype(dtype)}
    assert matrix.logpdet().dtype == matrix.eigvalsh().dtype == dtype
    assert (matrix @ np.ones(3, dtype)).dtype == (matrix @ [1, 2, 3]).dtype == dtype
    assert (matrix @ np.ones(3)).dtype == np.float64


def test_products_of_pytorch_carry_gradients(rng):
    torch = pytest.importorskip("torch")
    x, v = (torch.tensor(rng.normal(size=4), requires_grad=True) for _ in range(2))
    for part in PARTS.values():
        assert torch.autograd.gradcheck(lambda x, v, part=part: part(sm.SoftmaxJacobian(x)) @ v, (x, v))


def test_it_shows_what_it_is():
    assert repr(sm.SoftmaxJacobian([0.0, 1.0])) == "<SoftmaxJacobian of shape (2, 2) and dtype float64>"
    assert repr(sm.SoftmaxJacobian([0.0, 1.0]).pinv()) == "<PseudoInverse of shape (2, 2) and dtype float64>"


# Bad input


@pytest.mark.parametrize(
    ("operand", "left", "error", "message"),
    [
        (np.ones(4), False, sm.ArrayValueError, r"must have shape \(3,\) or \(\.\.\., 3, k\); got \(4,\)"),
        (np.ones((2, 3)), False, sm.ArrayValueError, r"got \(2, 3\)"),
        (np.ones((3, 2)), True, sm.ArrayValueError, r"\(3,\) or \(\.\.\., k, 3\); got \(3, 2\)"),
        (np.float64(3.0), False, sm.ArrayValueError, r"got \(\)"),
        (np.ones(3) * 1j, False, sm.ArrayTypeError, "must be real"),
        ("abc", False, sm.ArrayTypeError, "got str"),
    ],
    ids=["vector", "matrix", "left", "number", "complex", "string"],
)
def test_an_operand_that_does_not_fit(operand, left, error, message):
    matrix = sm.SoftmaxJacobian([0.0, 1.0, 2.0])
    with pytest.raises(error, match=message):
        _ = operand @ matrix if left else matrix @ operand


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (np.ones((2, 0)), sm.ArrayValueError, r"at least one logit.*\(2, 0\)"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), sm.ArrayValueError, "no masked array"),
        ([1j, 2.0], sm.ArrayTypeError, "complex"),
        ("abc", sm.ArrayTypeError, "got str"),
    ],
    ids=["empty", "masked", "complex", "string"],
)
def test_logits_that_make_no_matrix(logits, error, message):
    with pytest.raises(error, match=message):
        sm.SoftmaxJacobian(logits)


def test_eigenvalues_are_numpy_only():
    torch = pytest.importorskip("torch")
    with pytest.raises(sm.ArrayTypeError, match=r"eigvalsh needs NumPy logits; they are of torch"):
        sm.SoftmaxJacobian(torch.ones(3)).eigvalsh()
