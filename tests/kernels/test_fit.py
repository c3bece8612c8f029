"""The passes of a fit, compiled and in NumPy, against plain formulas: every storage, target, arithmetic, split."""

import mpmath
import numpy as np
import pytest
import scipy.sparse
from scipy.special import log_softmax, softmax

from softmax._kernels import portable_fit

SETS = {"portable": portable_fit}
try:
    from softmax._kernels.cpu import fit, fit_tiles
except ImportError:
    fit_tiles = None
else:
    SETS["compiled"] = fit

TOLERANCE = {np.float32: 3e-5, np.float64: 2e-13}


@pytest.fixture(params=SETS)
def kernels(request):
    return SETS[request.param]


def matrix(storage, n, d, rng):
    X = rng.standard_normal((n, d)) * rng.choice([0.2, 1.0, 3.0], size=d)
    if storage in ("C", "float32", "F", "strided", "float32 F"):
        X = X.astype(np.float32 if "float32" in storage else np.float64)
        X = np.asfortranarray(X) if storage.endswith("F") else X
        if storage == "strided":
            wide = np.full((2 * n, 2 * d + 1), np.nan)
            wide[::2, 1::2] = X
            X = wide[::2, 1::2]
        X.setflags(write=False)
        return X
    X[rng.random((n, d)) < 0.6] = 0.0
    X[n // 2] = 0.0
    if "repeated" in storage:
        X = X[np.sort(rng.integers(0, n // 3 + 1, n))]
    dtype = np.float32 if "float32" in storage else np.float64
    sparse = scipy.sparse.csr_array(X.astype(dtype))
    if "int64" in storage:
        sparse.indices = sparse.indices.astype(np.int64)
        sparse.indptr = sparse.indptr.astype(np.int64)
    for part in (sparse.data, sparse.indices, sparse.indptr):
        part.setflags(write=False)
    return sparse


def pass_over(kernels, X, n_classes):
    return (kernels.Dense if isinstance(X, np.ndarray) else kernels.Sparse)(X, n_classes)


class Case:
    """A problem, and what a pass over it must give, by formulas over whole arrays."""

    def __init__(self, kernels, storage, n, d, k, *, soft=False, weighted=False, offset=False, shift=False, seed=0):
        rng = np.random.default_rng(seed)
        self.rng, self.k, self.n = rng, k, n
        self.X = matrix(storage, n, d, rng)
        self.dense = np.asarray(self.X if isinstance(self.X, np.ndarray) else self.X.toarray(), np.float64)
        self.shift = rng.standard_normal(d) if shift else np.empty(0)
        if shift:
            self.dense = self.dense - self.shift
        labels = rng.integers(0, k, n)
        self.y = rng.dirichlet(np.full(k, 0.3), n) if soft else np.eye(k)[labels]
        if soft:
            self.y[1] = np.eye(k)[0]
        self.weights = rng.exponential(size=n) if weighted else None
        self.w = np.ones(n) if self.weights is None else self.weights
        self.offset = 2 * rng.standard_normal((n, k)) if offset else np.zeros((n, k))
        none = np.empty(0)
        self.matrix = pass_over(kernels, self.X, k)
        self.goal = kernels.__dict__["Goal"](
            np.empty(0, np.float32) if soft else labels.astype(np.float32),
            self.y if soft else none,
            none if self.weights is None else self.weights,
            self.offset if offset else none,
            k,
        )

    def points(self, sets):
        d = self.dense.shape[1]
        return self.rng.standard_normal((sets * self.k, d)) / np.sqrt(d), self.rng.standard_normal(sets * self.k)

    def prepared(self, point, single):
        return self.matrix.prepared(*point, self.k, single)

    def logits(self, point):
        coef, constant = point
        z = self.dense @ coef.T + constant
        return z.reshape(self.n, -1, self.k)

    def sums(self, size, single):
        return self.matrix.accumulator(size, self.k, single, False), np.zeros(size)

    def spans(self):
        """Rows in two shares, as two threads take them."""
        middle = self.n // 2 // self.matrix.tile * self.matrix.tile
        return [(0, middle), (middle, self.n)] if middle else [(0, self.n)]


STORAGES = ["C", "F", "strided", "float32", "float32 F", "csr", "csr float32 int64", "csr repeated"]
SHAPES = [(5, 1, 2), (97, 3, 3), (130, 13, 7), (64, 30, 26), (101, 9, 49), (40, 7, 150)]
OPTIONS = [{}, {"soft": True, "weighted": True}, {"offset": True, "weighted": True}, {"soft": True, "offset": True}]


def collected(case, gradient, size):
    """The sum of two accumulators, features in two slices, into memory filled with nan."""
    out = np.full((size, case.matrix.d), np.nan)
    for own in (slice(0, case.matrix.d // 2), slice(case.matrix.d // 2, case.matrix.d)):
        case.matrix.collect([gradient / 2, gradient / 2], case.k, own, out[:, own])
    return out


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("storage", STORAGES)
def test_loss_residuals_and_probabilities(kernels, storage, shape, options):
    case = Case(kernels, storage, *shape, **options)
    for single in (False, True) if shape in (SHAPES[2], SHAPES[4]) else (False,):
        close = {"rtol": 0, "atol": TOLERANCE[np.float32 if single else np.float64] * case.n}
        for sets in (1, 2):
            point = case.points(sets)
            gradient, excess = case.sums(sets * case.k, single)
            losses = np.zeros(sets)
            kept = np.full(case.matrix.kept_size(case.k), np.nan, np.float32)
            for span in case.spans():
                case.matrix.evaluate(
                    *span, case.prepared(point, single), case.shift, case.goal, kept, losses, gradient, excess
                )
            z = case.logits(point) + case.offset[:, None]
            logp = log_softmax(z, axis=2)
            residual = (np.exp(logp) - case.y[:, None]) * case.w[:, None, None]
            np.testing.assert_allclose(losses, -np.einsum("i,irk,ik->r", case.w, logp, case.y), **close)
            expected = np.einsum("irk,ij->rkj", residual, case.dense).reshape(sets * case.k, -1)
            got = collected(case, gradient, sets * case.k)
            np.testing.assert_allclose(got, expected, **close)
            np.testing.assert_allclose(excess, residual.sum(axis=0).ravel(), **close)
            block = case.matrix.kept_block(kept, case.k, 0, case.n)
            np.testing.assert_allclose(block, np.exp(logp[:, -1]).T, atol=5e-7 if single else 6e-8)
            assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("storage", STORAGES)
def test_products_with_the_hessian(kernels, storage, shape, weighted):
    case = Case(kernels, storage, *shape, weighted=weighted, offset=weighted)
    point = case.points(1)
    p = softmax(case.logits(point)[:, 0] + case.offset, axis=1)
    kept = np.zeros(case.matrix.kept_size(case.k), np.float32)
    losses, (gradient, excess) = np.zeros(1), case.sums(case.k, False)
    at = case.prepared(point, False)
    case.matrix.evaluate(0, case.n, at, case.shift, case.goal, kept, losses, gradient, excess)
    for sets in (1, 3):
        move = case.points(sets)
        u = case.logits(move)
        curved = p[:, None] * (u - np.einsum("ik,irk->ir", p, u)[:, :, None]) * case.w[:, None, None]
        expected = np.einsum("irk,ij->rkj", curved, case.dense).reshape(sets * case.k, -1)
        for single in (False, True) if shape in (SHAPES[2], SHAPES[4]) else (False,):
            for anew in (False, True):
                gradient, excess = case.sums(sets * case.k, single)
                if storage.startswith("csr") and single:
                    gradient = case.matrix.accumulator(sets * case.k, case.k, True, True)
                for span in case.spans():
                    prepared = case.prepared(move, single)
                    if anew:
                        now = case.prepared(point, single)
                        case.matrix.product_anew(*span, now, prepared, case.shift, case.goal, gradient, excess)
                    else:
                        case.matrix.product(*span, prepared, case.shift, case.goal, kept, gradient, excess)
                got = collected(case, gradient, sets * case.k)
                assert got.dtype == np.float64
                close = {"rtol": 0, "atol": (3e-5 if single else 1e-6) * np.abs(expected).max()}
                np.testing.assert_allclose(got, expected, **close)
                np.testing.assert_allclose(excess, curved.sum(axis=0).ravel(), rtol=0, atol=1e-5 * np.abs(curved).sum())


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")
@pytest.mark.parametrize("storage", STORAGES)
def test_values_and_slopes_along_a_direction(kernels, storage, options):
    case = Case(kernels, storage, 101, 9, 7, **options)
    point, move = case.points(1), case.points(1)
    steps = np.array([-1.0, 0.0, 0.5, 3.0])
    sums = np.zeros((2, 4))
    for span in case.spans():
        at, direction = case.prepared(point, False), case.prepared(move, False)
        case.matrix.along(*span, at, direction, case.shift, case.goal, steps, sums)
    z, u = case.logits(point)[:, 0] + case.offset, case.logits(move)[:, 0]
    for j, t in enumerate(steps):
        logp = log_softmax(z + t * u, axis=1)
        np.testing.assert_allclose(sums[0, j], -(case.w[:, None] * case.y * logp).sum(), rtol=1e-13)
        slope = (case.w[:, None] * (np.exp(logp) - case.y) * u).sum()
        np.testing.assert_allclose(sums[1, j], slope, atol=1e-11)


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("storage", ["C", "F", "float32", "strided"])
def test_rows_are_shifted(kernels, storage, single):
    case = Case(kernels, storage, 130, 5, 4, shift=True)
    point = case.points(1)
    gradient, excess = case.sums(case.k, single)
    losses = np.zeros(1)
    kept = np.empty(0, np.float32)
    at = case.prepared(point, single)
    case.matrix.evaluate(0, case.n, at, case.shift, case.goal, kept, losses, gradient, excess)
    logp = log_softmax(case.logits(point)[:, 0], axis=1)
    np.testing.assert_allclose(losses[0], -(case.y * logp).sum(), rtol=1e-5 if single else 1e-13)
    got = collected(case, gradient, case.k)
    np.testing.assert_allclose(got, (np.exp(logp) - case.y).T @ case.dense, atol=1e-3 if single else 1e-11)


# The compiled passes over sparse rows take moments together with the probabilities.
MOMENTS = [(name, storage) for name in SETS for storage in STORAGES if name == "portable" or "csr" not in storage]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "storage"), MOMENTS)
def test_moments_of_features_by_class(name, storage, shape):
    case = Case(SETS[name], storage, *shape, shift=storage in ("C", "float32 F"))
    q = case.rng.random((case.k, case.n))
    total = case.matrix.accumulator(2 * case.k, case.k, True, True)
    for start, stop in case.spans():
        case.matrix.moments(start, stop, q[:, start:stop], case.shift, total)
    expected = np.concatenate([q @ case.dense, q @ case.dense**2])
    got = collected(case, total, 2 * case.k)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"weighted": True, "offset": True}], ids=str)
@pytest.mark.parametrize("storage", ["csr", "csr float32 int64", "csr repeated"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_curvature_moments(shape, storage, options):
    case = Case(SETS.get("compiled") or pytest.skip("Numba is not installed"), storage, *shape, **options)
    point = case.points(1)
    p = softmax(case.logits(point)[:, 0] + case.offset, axis=1)
    q = (case.w[:, None] * p * (1 - p)).T
    for single in (False, True):
        total = case.matrix.accumulator(2 * case.k, case.k, single, True)
        weight = np.zeros((case.k, 1))
        for span in case.spans():
            case.matrix.curvature_moments(*span, case.prepared(point, single), case.goal, total, weight)
        expected = np.concatenate([q @ case.dense, q @ case.dense**2])
        got = collected(case, total, 2 * case.k)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(weight[:, 0], q.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("storage", ["C", "csr"])
def test_probabilities_in_float64(kernels, storage):
    case = Case(kernels, storage, 101, 9, 7, offset=True)
    point = case.points(1)
    start, stop = case.matrix.tile, 101
    got = case.matrix.probabilities(start, stop, case.prepared(point, False), case.shift, case.goal)
    expected = softmax(case.logits(point)[start:, 0] + case.offset[start:], axis=1)
    np.testing.assert_allclose(got, expected.T, rtol=1e-13)


def one_row(kernels, storage, z, label):
    """(loss, residual) of one row with logits z: X is 1, the constants are z."""
    X = np.ones((1, 1))
    matrix = pass_over(kernels, X if storage == "dense" else scipy.sparse.csr_array(X), len(z))
    none = np.empty(0)
    goal = kernels.__dict__["Goal"](np.array([label], np.float32), none, none, none, len(z))
    at = matrix.prepared(np.zeros((len(z), 1)), np.asarray(z, np.float64), len(z), False)
    losses, excess = np.zeros(1), np.zeros(len(z))
    gradient = matrix.accumulator(len(z), len(z), False, False)
    matrix.evaluate(0, 1, at, none, goal, np.empty(0, np.float32), losses, gradient, excess)
    return losses[0], excess


@pytest.mark.parametrize("storage", ["dense", "sparse"])
@pytest.mark.parametrize("z", [[30, 0], [0, -700, 0], [700, -700, 5], [5, 5], [1e-9, 0], [0, -36.7], [300.0, 299, 1]])
def test_loss_and_residual_are_accurate_where_a_class_is_certain(kernels, storage, z):
    for label in range(len(z)):
        loss, residual = one_row(kernels, storage, z, label)
        with mpmath.workdps(400):
            e = [mpmath.exp(v) for v in z]
            exact = [v / sum(e) - (k == label) for k, v in enumerate(e)]
            exact_loss = mpmath.log(sum(e) / e[label])
        np.testing.assert_allclose(loss, float(exact_loss), rtol=2e-15)
        # below 1e-300 the residual is taken as 0
        np.testing.assert_allclose(residual, [float(v) for v in exact], rtol=4e-15, atol=1e-300)


@pytest.mark.parametrize("storage", ["dense", "sparse"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e308])
def test_logits_without_a_softmax_do_not_crash(kernels, storage, bad):
    loss, _ = one_row(kernels, storage, [0.0, bad, 1.0], 0)
    assert np.isfinite(loss) == (bad == -np.inf) or loss == 1e308
    loss, _ = one_row(kernels, storage, [0.0, bad, 1.0], 1)
    assert not np.isfinite(loss) or loss == 0.0
    loss, _ = one_row(kernels, storage, [bad, bad, bad], 1)
    assert not np.isfinite(loss) or bad == 1e308


@pytest.mark.parametrize("storage", ["C", "F", "float32", "csr", "csr float32 int64"])
def test_sums_of_columns(kernels, storage):
    rng = np.random.default_rng(0)
    X = matrix(storage, 130, 6, rng)
    dense = np.asarray(X if isinstance(X, np.ndarray) else X.toarray(), np.float64)
    M = pass_over(kernels, X, 3)
    w = rng.exponential(size=130)
    for weights in (np.empty(0), w):
        v = weights if weights.size else np.ones(130)
        for centre in (np.empty(0), rng.standard_normal(6)):
            power = 2 if centre.size else 1
            stored = dense != 0 if storage.startswith("csr") else np.ones_like(dense)
            terms = (dense - (centre if centre.size else 0.0)) ** power * stored
            total = np.zeros((3, 6) if storage.startswith("csr") else 6)
            M.column_sums(0, 96, weights, centre, total)
            M.column_sums(96, 130, weights, centre, total)
            expected = v @ terms
            if storage.startswith("csr"):
                expected = np.array([expected, v @ stored, stored.sum(axis=0)])
            np.testing.assert_allclose(total, expected, rtol=1e-12)
        if storage.startswith("csr"):
            moment = np.zeros((6, 6))
            M.second_moment(0, 130, weights, moment)
            np.testing.assert_allclose(np.tril(moment), np.tril((dense.T * v) @ dense), atol=1e-11)


def test_log1p_is_accurate():
    numba = pytest.importorskip("numba")
    from softmax._kernels.cpu.fit_vectors import load_wide, log1p_of, store_any

    @numba.njit
    def run(x, out):
        for i in range(0, x.size, 8):
            store_any(out, i, log1p_of(load_wide(x, i)))

    rng = np.random.default_rng(0)
    x = np.concatenate([[0.0, 1e-300, 0.4142135, 0.41421357, 1.0, 3.0, 1e6, np.nan], 10 ** rng.uniform(-20, 7, 4096)])
    out = np.empty_like(x)
    run(x, out)
    assert np.isnan(out[7])
    x, out = np.delete(x, 7), np.delete(out, 7)
    exact = np.array([float(mpmath.log1p(v)) for v in x])
    np.testing.assert_allclose(out, exact, rtol=5e-16)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-15), (np.float32, 2e-7)])
def test_the_exponential_is_accurate(dtype, error):
    numba = pytest.importorskip("numba")
    from softmax._kernels.cpu.fit_vectors import exp_below, load_wide, store_any, width_of

    @numba.njit
    def run(x, out):
        for i in range(0, x.size, width_of(x)):
            store_any(out, i, exp_below(load_wide(x, i)))

    low = -700 if dtype == np.float64 else -85
    x = np.linspace(low, 0, 4096).astype(dtype)
    x[:3] = -np.inf, -1e30, np.nan
    out = np.empty_like(x)
    run(x, out)
    assert out[0] == out[1] == 0.0 and np.isnan(out[2])
    exact = np.array([float(mpmath.exp(float(v))) for v in x[3:]])
    np.testing.assert_allclose(out[3:].astype(np.float64), exact, rtol=error)
