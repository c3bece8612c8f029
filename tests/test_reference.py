"""The reference against mpmath at 1600 bits, its two forms against each other, and the measure of an ulp."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import pytest

from softmax import _reference as reference
from softmax._reference import Pair
from softmax._typing import LossOptions
from tests.ulp import FORMATS, must_fail, ulp_error, unit_exponent

mp = mpmath.mp.clone()
mp.prec = 1600
RNG = np.random.default_rng(20)

ROWS = {
    "one": np.array([3.25]),
    "two": np.array([0.0, -40.0]),
    "equal": np.full(7, -1e300),
    "randn": RNG.normal(size=150),
    "wide": 100 * RNG.normal(size=150),
    "to the last subnormal": RNG.uniform(-745, 0, 150),
    "beyond the last subnormal": np.array([0.0, -744.4, -745.1, -745.2, -746.0, -800.0, -999.0]),
    "offset": 1e15 + np.round(RNG.normal(size=60) * 80) / 8,
    "tiny sum": np.array([0.0, -740.0, -744.0]),
    "near ties": np.array([1.0, 1.0 - 2**-53, np.nextafter(1.0, 2.0)]),
    "log-simplex": np.log(RNG.dirichlet(np.ones(50))),
}
ROW = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def big(pair: Pair) -> np.ndarray:
    """The entries of a pair as mpmath numbers."""
    exponent = np.broadcast_to(pair.exponent, pair.hi.shape)
    flat = zip(pair.hi.ravel(), pair.lo.ravel(), exponent.ravel(), strict=True)
    numbers = [mp.ldexp(mp.mpf(float(h)) + mp.mpf(float(low)), int(e)) for h, low, e in flat]
    return np.array(numbers, dtype=object).reshape(pair.hi.shape)


class Exact:
    """The definitions at 1600 bits."""

    def __init__(self, row):
        self.z = [mp.mpf(v if isinstance(v, mp.mpf) else float(v)) for v in row]
        top = max(self.z)
        terms = [mp.exp(v - top) for v in self.z]
        self.lse = top + mp.log(mp.fsum(terms))
        self.p = [term / mp.fsum(terms) for term in terms]
        self.log_p = [v - self.lse for v in self.z]


def assert_near(pair, exact, bits, scale=None):
    """Within 2**-bits of the exact numbers, relative to each or to `scale`."""
    got, exact = big(pair).ravel(), np.array(exact, dtype=object).ravel()
    assert got.shape == exact.shape
    for a, b in zip(got, exact, strict=True):
        assert abs(a - b) <= mp.ldexp(abs(b) if scale is None else scale, -bits)


@ROW
def test_probabilities(row):
    assert_near(reference.softmax(row), Exact(row).p, 75)


@ROW
def test_logarithms(row):
    exact = Exact(row)
    assert_near(reference.log_softmax(row), exact.log_p, 75, scale=None if len(row) > 1 else 1)
    # The maximum and the log of the sum may cancel: then the error is relative to the larger of them.
    cancels = row is ROWS["log-simplex"]
    assert_near(reference.logsumexp(row[None]), [exact.lse], 75, scale=1 if cancels else None)


def test_a_million_entries_sum_to_one():
    p = reference.softmax(3 * RNG.normal(size=10**6))
    total = p.sum().at(0)
    assert abs((total.hi[0] - 1) + total.lo[0]) < 2.0**-80


def test_axis_and_rows():
    x = RNG.normal(size=(3, 5, 4))
    whole = reference.log_softmax(x, 1)
    for i, k in np.ndindex(3, 4):
        alone = reference.log_softmax(x[i, :, k])
        np.testing.assert_array_equal(whole.hi[i, :, k], alone.hi)
        np.testing.assert_allclose(whole.lo[i, :, k], alone.lo, atol=2.0**-75)
    assert reference.logsumexp(x, 1).hi.shape == (3, 4)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("row", [ROWS["randn"], ROWS["wide"], ROWS["two"]], ids=["randn", "wide", "two"])
def test_derivatives(row, temperature):
    row = row[:20]
    g = 1e4 + RNG.normal(size=len(row))
    exact, n = Exact(row / temperature), len(row)
    vector = [mp.mpf(float(v)) for v in g]
    mean = mp.fsum(p * v for p, v in zip(exact.p, vector, strict=True))
    total = mp.fsum(vector)
    p, t = exact.p, mp.mpf(temperature)
    size = max(abs(v) for v in vector) / t
    options = {"temperature": temperature}
    assert_near(
        reference.softmax_vjp(row, g, **options), [a * (v - mean) / t for a, v in zip(p, vector, strict=True)], 75, size
    )
    assert_near(reference.log_softmax_jvp(row, g, **options), [(v - mean) / t for v in vector], 75, size)
    assert_near(
        reference.log_softmax_vjp(row, g, **options),
        [(v - a * total) / t for a, v in zip(p, vector, strict=True)],
        75,
        size * n,
    )
    dense = [[(p[i] * (1 - p[i]) if i == j else -p[i] * p[j]) / t for j in range(n)] for i in range(n)]
    assert_near(reference.softmax_jacobian(row, **options), dense, 75, mp.mpf(1e-300) / t + 1)
    assert_near(
        reference.log_softmax_jacobian(row, **options),
        [[((1 if i == j else 0) - p[j]) / t for j in range(n)] for i in range(n)],
        75,
        1 / t,
    )


def test_derivative_where_the_probability_is_next_to_one():
    row = np.array([0.0, -100.0])
    small = mp.exp(-100) / (1 + mp.exp(-100))
    assert_near(reference.softmax_jacobian(row)[0, 0], [small * (1 - small)], 75)
    assert_near(reference.log_softmax_vjp(row, np.array([1.0, 0.0])), [small, -small], 75)
    assert_near(reference.cross_entropy_grad(row, np.array(0)), [-small, small], 75)


def test_entropy_and_divergence():
    a, b = ROWS["randn"][:40], ROWS["wide"][:40]
    p, q = Exact(a), Exact(b)
    entropy = -mp.fsum(u * v for u, v in zip(p.p, p.log_p, strict=True))
    divergence = mp.fsum(u * (v - w) for u, v, w in zip(p.p, p.log_p, q.log_p, strict=True))
    assert_near(reference.entropy(a[None]), [entropy], 75)
    assert_near(reference.kl_divergence(a[None], b[None]), [divergence], 75)


LOSSES = {
    "plain": LossOptions(),
    "weighted": LossOptions(weight=np.array([0.5, 2.0, 0.0, 1.0, 3.0])),
    "smoothed": LossOptions(label_smoothing=0.1),
    "cool": LossOptions(temperature=0.25),
    "capped": LossOptions(softcap=5.0),
    "z": LossOptions(z_loss=0.25),
    "all": LossOptions(
        weight=np.array([0.5, 2.0, 0.25, 1.0, 3.0]), label_smoothing=0.25, temperature=2.0, softcap=4.0, z_loss=0.125
    ),
}
LOSS = pytest.mark.parametrize("options", LOSSES.values(), ids=LOSSES)


def exact_loss(x, target, options):
    """The definition at 1600 bits, for one row of mpmath numbers."""
    n, cap = len(x), options.softcap
    z = [(v if cap is None else cap * mp.tanh(v / cap)) / mp.mpf(options.temperature) for v in x]
    top = max(z)
    lse = top + mp.log(mp.fsum(mp.exp(v - top) for v in z))
    weight = [1.0] * n if options.weight is None else options.weight
    smoothing = mp.mpf(options.label_smoothing)
    q = [mp.mpf(float(v)) for v in (target if np.ndim(target) else np.arange(n) == target)]
    terms = [
        mp.mpf(float(w)) * ((1 - smoothing) * a + smoothing / n) * (lse - v)
        for w, a, v in zip(weight, q, z, strict=True)
    ]
    return mp.fsum(terms) + mp.mpf(options.z_loss) * lse**2


@pytest.mark.parametrize(
    "target", [np.array(3), np.array([0.125, 0.5, 0.0, 0.25, 0.125])], ids=["index", "probabilities"]
)
@LOSS
def test_cross_entropy_with_its_derivatives(options, target):
    x, v = 3 * RNG.normal(size=5), RNG.normal(size=5)
    numbers, step = [mp.mpf(float(a)) for a in x], mp.ldexp(1, -300)

    def moved(*shifts):
        return exact_loss([a + sum(s[i] for s in shifts) for i, a in enumerate(numbers)], target, options)

    assert_near(reference.cross_entropy(x[None], target[None], -1, options), [moved()], 72)
    grad, product = [], []
    direction = [step * mp.mpf(float(a)) for a in v]
    for i in range(5):
        unit = [step if j == i else mp.mpf(0) for j in range(5)]
        minus = [-a for a in unit]
        grad.append((moved(unit) - moved(minus)) / (2 * step))
        back = [-a for a in direction]
        corners = moved(unit, direction) - moved(unit, back) - moved(minus, direction) + moved(minus, back)
        product.append(corners / (4 * step**2))
    assert_near(reference.cross_entropy_grad(x, target, -1, options), grad, 72, 1)
    assert_near(reference.cross_entropy_hvp(x, target, v, -1, options), product, 72, 1)


@LOSS
def test_the_plain_form_agrees(options):
    x = 3 * RNG.normal(size=5)
    given = {name: getattr(options, name) for name in ("label_smoothing", "temperature", "softcap", "z_loss")}
    weight = None if options.weight is None else list(options.weight)
    for target in (2, [0.1, 0.2, 0.3, 0.4, 0.0]):
        plain = reference.row_cross_entropy(list(x), target, weight=weight, **given)
        pair = reference.cross_entropy(x[None], np.array(target)[None], -1, options)
        assert plain == pytest.approx(pair.rounded()[0], rel=1e-14)


@pytest.mark.parametrize(
    "row", [ROWS["randn"][:30], ROWS["two"], 3 * ROWS["randn"][:30]], ids=["randn", "two", "3 randn"]
)
def test_the_plain_forms_agree(row):
    v = RNG.normal(size=len(row))
    plain = list(map(float, row))
    pairs = [
        (reference.row_softmax(plain), reference.softmax(row)),
        (reference.row_log_softmax(plain), reference.log_softmax(row)),
        ([reference.row_logsumexp(plain)], reference.logsumexp(row[None])),
        (reference.row_softmax_jacobian(plain), reference.softmax_jacobian(row)),
        (reference.row_softmax_jvp(plain, v), reference.softmax_jvp(row, v)),
        (reference.row_log_softmax_jvp(plain, v), reference.log_softmax_jvp(row, v)),
        (reference.row_log_softmax_vjp(plain, v), reference.log_softmax_vjp(row, v)),
        ([reference.row_entropy(plain)], reference.entropy(row[None])),
        ([reference.row_kl_divergence(plain, list(v))], reference.kl_divergence(row[None], v[None])),
    ]
    for got, pair in pairs:
        np.testing.assert_allclose(got, pair.rounded(), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("b", [[1.0, 2.0, 0.5], [1.0, -1.0, 3.0], [0.0, 1.0, 1e-200]], ids=str)
def test_weighted_sum(b):
    x = np.array([[0.5, 0.25, -3.0]])
    value, sign = reference.weighted_logsumexp(x, b)
    total = mp.fsum(mp.mpf(w) * mp.exp(mp.mpf(float(v))) for w, v in zip(b, x[0], strict=True))
    assert_near(value, [mp.log(total)], 60)
    assert sign == 1
    lost, sign = reference.weighted_logsumexp(x, -np.array(b))
    assert np.isnan(lost.hi)
    assert sign == -1


def test_special_rows():
    x = np.array([[-np.inf, -np.inf], [np.inf, 0.0], [np.nan, 0.0], [-np.inf, 0.0], [np.nan, np.inf]])
    where = np.array([[True, True], [True, True], [True, True], [True, True], [False, False]])
    np.testing.assert_array_equal(
        reference.softmax(x, where=where).rounded(),
        [[np.nan] * 2, [np.nan] * 2, [np.nan] * 2, [0.0, 1.0], [0.0, 0.0]],
    )
    np.testing.assert_array_equal(
        reference.log_softmax(x, where=where).rounded(),
        [[np.nan] * 2, [np.nan] * 2, [np.nan] * 2, [-np.inf, 0.0], [-np.inf, -np.inf]],
    )
    np.testing.assert_array_equal(
        reference.logsumexp(x, where=where).rounded(), [-np.inf, np.inf, np.nan, 0.0, -np.inf]
    )
    assert reference.softmax(np.zeros((2, 0))).hi.shape == (2, 0)
    np.testing.assert_array_equal(reference.logsumexp(np.zeros((2, 0))).hi, [-np.inf, -np.inf])


def test_logits_of_probability_zero_do_not_count():
    x, target = np.array([[0.0, -np.inf, 1.0]]), np.array([[0.25, 0.0, 0.75]])
    kept = np.array([[0.0, 1.0]]), np.array([[0.25, 0.75]])
    value = reference.cross_entropy(x, target)
    assert value.hi == reference.cross_entropy(*kept).hi
    masked = reference.cross_entropy(x, target, -1, LossOptions(where=np.array([[True, False, True]])))
    assert value.hi == masked.hi
    ignored = LossOptions(ignore_index=-1)
    assert reference.cross_entropy(x, np.array([-1]), -1, ignored).hi == 0
    assert not reference.cross_entropy_grad(x, np.array([-1]), -1, ignored).hi.any()


# The measure


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_unit_is_the_spacing_of_the_dtype(dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)
    info = ml_dtypes.finfo(kind)
    values = np.array([info.smallest_subnormal, info.smallest_normal, 1.0, 1.5, 3.0, info.max], dtype=kind)
    unit = [Fraction(2) ** int(k) for k in unit_exponent(Pair(values.astype(np.float64)), dtype)]
    following = np.nextafter(values[:-1], kind.type(np.inf))
    spacing = [Fraction(float(b)) - Fraction(float(a)) for a, b in zip(values[:-1], following, strict=True)]
    assert unit[:-1] == spacing
    assert unit_exponent(Pair([0.0]), dtype) == math.log2(info.smallest_subnormal)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_distance_counts_fractions(dtype):
    for exact in (mp.mpf(1) / 3, 1 - mp.ldexp(1, -70), mp.mpf(2) / 3 * mp.ldexp(1, -140), mp.ldexp(mp.pi, -1074)):
        high = float(mp.ldexp(exact, 600))
        truth = Pair([high], [float(mp.ldexp(exact, 600) - mp.mpf(high))], -600)
        got = np.array([float(exact)], dtype=dtype)
        bits, smallest = FORMATS[dtype]
        unit = mp.ldexp(1, max(int(mp.floor(mp.log(exact, 2))), smallest) - bits + 1)
        assert ulp_error(got, truth)[0] == pytest.approx(float(abs(mp.mpf(float(got[0])) - exact) / unit), abs=1e-9)
        assert ulp_error(np.nextafter(got, got.dtype.type(2)), truth)[0] > 0.49


def test_the_distance_of_special_results():
    truth = Pair([np.nan, np.nan, 1.0, -1e6, 1e3, -np.inf])
    got = np.array([np.nan, 0, np.nan, -np.inf, np.inf, -np.inf], dtype=np.float16)
    np.testing.assert_array_equal(ulp_error(got, truth), [0, np.inf, np.inf, 0, np.inf, 0])


def test_must_fail_notices_a_pass():
    with pytest.raises(AssertionError, match="prove nothing"), must_fail():
        pass
