"""Standard errors: against statsmodels, against direct formulas and finite differences, and by simulation."""

import doctest
import re
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
from scipy import optimize, stats

import softmax as sm
from softmax.regression._inference import infer
from softmax.regression._inference_result import log_chi2_sf
from softmax.regression._inference_text import p_text

statsmodels = pytest.importorskip("statsmodels.api")


def sample(seed=0, n=500, d=4, n_classes=4):
    """Rows whose classes overlap, and labels drawn from the model."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    logits = X @ rng.normal(size=(d, n_classes)) + rng.normal(size=n_classes)
    u = rng.uniform(size=(n, 1))
    y = (np.cumsum(sm.softmax(logits), axis=1)[:, :-1] < u).sum(axis=1)
    return X, y


def fitted(X, y, **options):
    fit = {name: options.pop(name) for name in ("sample_weight", "offset") if name in options}
    return sm.SoftmaxRegression(**({"C": np.inf} | options)).fit(X, y, **fit)


def mnlogit(X, y, **options):
    return statsmodels.MNLogit(y, statsmodels.add_constant(X)).fit(disp=0, method="newton", tol=1e-14, **options)


def close(ours, theirs, tolerance=1e-6):
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * 1e-3 * np.max(np.abs(theirs)))


def direct(X, y, weights=None, n_classes=None, offset=None, ridge=0.0, intercept=True):
    """The plain way: parameters (K−1, p) against class 0, all scores (n, q), the information, from n × q arrays."""
    n = len(X)
    Z = np.column_stack([np.ones(n), X]) if intercept else X
    weights = np.ones(n) if weights is None else weights
    Y = np.eye(n_classes or y.max() + 1)[y] if y.ndim == 1 else y
    n_classes, p = Y.shape[1], Z.shape[1]
    penalty = np.kron(
        np.eye(n_classes - 1) - 1 / n_classes, np.diag(np.r_[[0.0] * intercept, np.broadcast_to(ridge, X.shape[1])])
    )

    def parts(theta):
        logits = np.column_stack([np.zeros(n), Z @ theta.reshape(n_classes - 1, p).T])
        logits = logits if offset is None else logits + offset
        P = np.exp(logits - logits.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        scores = np.einsum("i,ik,ij->ikj", weights, (Y - P)[:, 1:], Z).reshape(n, -1)
        middle = np.einsum("ik,kl->ikl", P[:, 1:], np.eye(n_classes - 1)) - np.einsum("ik,il->ikl", P[:, 1:], P[:, 1:])
        info = np.einsum("i,ikl,ij,im->kjlm", weights, middle, Z, Z, optimize=True).reshape(theta.size, theta.size)
        return scores, info + penalty, P

    theta = np.zeros((n_classes - 1) * p)
    for _ in range(50):
        scores, info, P = parts(theta)
        theta = theta + np.linalg.solve(info, scores.sum(axis=0) - penalty @ theta)
    scores, info, P = parts(theta)
    return theta.reshape(n_classes - 1, p), scores, info, P


CASES = {"many": (0, 500, 4, 4), "two": (1, 300, 3, 2), "wide": (2, 900, 12, 6)}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_statsmodels(case):
    X, y = sample(*CASES[case])
    ours, theirs = infer(fitted(X, y), X, y), mnlogit(X, y)
    close(ours.params.T, theirs.params)
    close(ours.bse.T, theirs.bse)
    close(ours.zvalues.T, theirs.tvalues)
    np.testing.assert_allclose(ours.pvalues.T, theirs.pvalues, rtol=1e-5, atol=1e-12)
    close(ours.conf_int(), theirs.conf_int())
    close(ours.conf_int(0.8), theirs.conf_int(alpha=0.2))
    close(ours.cov_params, theirs.cov_params())
    close(ours.llf, theirs.llf)
    close(ours.llnull, theirs.llnull)
    close(ours.pseudo_r2["mcfadden"], theirs.prsquared)
    r2 = ours.pseudo_r2
    close(r2["cox_snell"], 1 - np.exp(2 / len(y) * (theirs.llnull - theirs.llf)))
    close(r2["nagelkerke"], r2["cox_snell"] / (1 - np.exp(2 / len(y) * theirs.llnull)))
    close(r2["adjusted"], 1 - (theirs.llf - theirs.params.size) / theirs.llnull)
    close([ours.llr, ours.aic, ours.bic], [theirs.llr, theirs.aic, theirs.bic])
    close(ours.llr_pvalue, theirs.llr_pvalue, 1e-4)
    assert ours.df_model == theirs.df_model


@pytest.mark.parametrize("covariance", ["HC0", "cluster"])
def test_robust_covariances_agree_with_statsmodels(covariance):
    X, y = sample()
    groups = np.random.default_rng(3).integers(0, 40, len(y))
    model = fitted(X, y)
    if covariance == "HC0":
        ours, theirs = infer(model, X, y, covariance="robust"), mnlogit(X, y, cov_type="HC0")
    else:
        ours = infer(model, X, y, covariance="cluster", clusters=groups)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of an option that it hands to its optimiser
            theirs = mnlogit(X, y, cov_type="cluster", cov_kwds={"groups": groups})
    close(ours.cov_params, theirs.cov_params())
    close(ours.bse.T, theirs.bse)


def test_two_classes_agree_with_logit():
    X, y = sample(1, 300, 3, 2)
    theirs = statsmodels.Logit(y, statsmodels.add_constant(X)).fit(disp=0, method="newton", tol=1e-14)
    for covariance, kind in (("classical", "nonrobust"), ("HC0", "HC0")):
        ours = infer(fitted(X, y), X, y, covariance=covariance)
        theirs = statsmodels.Logit(y, statsmodels.add_constant(X)).fit(disp=0, tol=1e-14, cov_type=kind)
        close(ours.params[0], theirs.params)
        close(ours.bse[0], theirs.bse)


def test_units_of_the_columns_cost_no_digits():
    X, y = sample()
    scale, shift = np.array([1e6, 1e-5, 1.0, 1e3]), np.array([3e6, 0.0, 1e4, -5e3])
    badly = X * scale + shift
    theirs, ours = mnlogit(X, y), infer(fitted(badly, y), badly, y)
    close(ours.params[:, 1:] * scale, theirs.params[1:].T)
    close(ours.bse[:, 1:] * scale, theirs.bse[1:].T)
    close(ours.zvalues[:, 1:], theirs.tvalues[1:].T)
    close(ours.params[:, 0] + ours.params[:, 1:] @ shift, theirs.params[0], 1e-5)
    design = statsmodels.add_constant(badly)
    cov = ours.cov_params.reshape(3, 5, 3, 5)
    # The variance of the logits at the rows is that of the plain columns.
    variances = np.einsum("ij,jk,ik->i", design, cov[0, :, 0, :], design)
    plain = theirs.cov_params().reshape(3, 5, 3, 5)[0, :, 0, :]
    np.testing.assert_allclose(
        variances, np.einsum("ij,jk,ik->i", statsmodels.add_constant(X), plain, statsmodels.add_constant(X)), rtol=1e-3
    )


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("covariance", ["classical", "HC0", "HC1", "cluster"])
def test_weights_and_offsets_follow_the_direct_formula(covariance, soft):
    X, y = sample(4, 300, 3, 3)
    rng = np.random.default_rng(5)
    weights, offset = rng.uniform(0.2, 3.0, 300), rng.normal(size=(300, 3))
    weights[::17] = 0.0
    groups = rng.choice(list("abcdefghijklmnop"), 300)
    target = sm.softmax(2 * np.eye(3)[y] + rng.normal(size=(300, 3))) if soft else y
    model = fitted(X, target, sample_weight=weights, offset=offset)
    ours = infer(
        model,
        X,
        target,
        sample_weight=weights,
        offset=offset,
        covariance=covariance,
        clusters=groups if covariance == "cluster" else None,
    )
    kept = weights > 0
    theta, scores, info, P = direct(X[kept], target[kept], weights[kept], 3, offset[kept])
    inverse, n, q = np.linalg.inv(info), int(kept.sum()), theta.size
    if covariance == "cluster":
        codes = np.unique(groups[kept], return_inverse=True)[1]
        scores = np.array([scores[codes == g].sum(axis=0) for g in range(16)])
    factor = {"classical": 1, "HC0": 1, "HC1": n / (n - q), "cluster": 16 / 15 * (n - 1) / (n - q)}[covariance]
    expected = inverse if covariance == "classical" else factor * inverse @ scores.T @ scores @ inverse
    close(ours.params, theta)
    close(ours.cov_params, expected)
    Y = target if soft else np.eye(3)[y]
    close(ours.llf, np.sum(weights[kept, None] * Y[kept] * np.log(P)))
    assert (ours.n_obs, ours.n_clusters) == (n, 16 if covariance == "cluster" else None)
    close([ours.sum_weights, ours.n_effective], [weights.sum(), weights.sum() ** 2 / np.sum(weights**2)])

    def null(b):
        logs = sm.log_softmax(offset[kept] + np.array([0.0, *b]))
        return -np.sum(weights[kept, None] * Y[kept] * logs)

    close(ours.llnull, -optimize.minimize(null, np.zeros(2), tol=1e-10).fun)


def test_a_frequency_weight_is_a_repeated_row():
    X, y = sample(6, 200, 3, 3)
    weights = np.random.default_rng(7).integers(1, 4, 200)
    repeated = np.repeat(np.arange(200), weights)
    ours = infer(fitted(X, y, sample_weight=weights), X, y, sample_weight=weights)
    theirs = infer(fitted(X[repeated], y[repeated]), X[repeated], y[repeated])
    close(ours.cov_params, theirs.cov_params)
    close([ours.llf, ours.llnull, ours.bic], [theirs.llf, theirs.llnull, theirs.bic])
    close(list(ours.pseudo_r2.values()), list(theirs.pseudo_r2.values()))
    # The same weight for all rows counts as well.
    triple = infer(fitted(X, y), X, y, sample_weight=np.full(200, 3.0))
    close(3 * triple.cov_params, infer(fitted(X, y), X, y).cov_params)


def test_only_ratios_of_sampling_weights_matter_to_robust_errors():
    X, y = sample(6, 200, 3, 3)
    weights = np.random.default_rng(7).uniform(1, 4, 200)
    model = fitted(X, y, sample_weight=weights)
    one = infer(model, X, y, sample_weight=weights, covariance="HC1")
    other = infer(model, X, y, sample_weight=50 * weights, covariance="HC1")
    close(one.cov_params, other.cov_params, 1e-7)  # each at its own 1e-9 standard errors from the optimum


def test_the_information_is_the_curvature_of_the_likelihood():
    X, y = sample(8, 150, 2, 3)
    ours = infer(fitted(X, y), X, y)

    def likelihood(flat):
        theta = flat.reshape(2, 3)
        logits = np.column_stack([np.zeros(150), theta[:, :1].T + X @ theta[:, 1:].T])
        return -sm.cross_entropy(logits, y, reduction="sum")

    at, step = ours.params.ravel(), 1e-3 * ours.bse.ravel()
    q = len(at)
    curvature = np.zeros((q, q))
    for i in range(q):
        for j in range(q):
            a, b = np.eye(q)[i] * step, np.eye(q)[j] * step
            four = likelihood(at + a + b) - likelihood(at + a - b) - likelihood(at - a + b) + likelihood(at - a - b)
            curvature[i, j] = four / (4 * step[i] * step[j])
    np.testing.assert_allclose(np.linalg.inv(-curvature), ours.cov_params, rtol=1e-3, atol=1e-4)
    close(likelihood(at), ours.llf)


def test_rare_classes_lose_no_digits():
    """p (1 − p) near p = 1 must not be computed as p − p²."""
    rng = np.random.default_rng(9)
    X = rng.normal(size=(20000, 1))
    y = np.zeros(20000, dtype=int)
    y[:6] = 1
    for reference in (0, 1):
        ours = infer(fitted(X, y), X, y, reference=reference)
        theta, _, info, _ = direct(X, y, n_classes=2)
        close(np.abs(ours.params), np.abs(theta), 1e-8)
        close(ours.cov_params, np.linalg.inv(info), 1e-8)


@pytest.mark.parametrize("kind", ["csr", "csc", "float32", "fortran", "frame"])
def test_storage_does_not_matter(kind):
    pandas = pytest.importorskip("pandas")
    X, y = sample(10, 300, 4, 3)
    X = np.where(np.abs(X) < 0.5, 0.0, X).astype(np.float32).astype(np.float64)
    plain = infer(fitted(X, y), X, y)
    stored = {
        "csr": scipy.sparse.csr_array,
        "csc": scipy.sparse.csc_matrix,
        "float32": np.float32,
        "fortran": np.asfortranarray,
        "frame": lambda X: pandas.DataFrame(X, columns=list("abcd")),
    }[kind](X)
    ours = infer(fitted(stored, y), stored, y)
    close(ours.params, plain.params, 1e-9)
    close(ours.cov_params, plain.cov_params, 1e-9)
    assert ours.feature_names[1:] == (list("abcd") if kind == "frame" else ["x0", "x1", "x2", "x3"])


def test_parametrisations_are_contrasts_of_each_other():
    X, y = sample()
    labels = np.array(["ant", "bee", "cat", "dog"])[y]
    model = fitted(X, labels)
    first = infer(model, X, labels)
    assert first.reference == "ant" and first.row_classes == ["bee", "cat", "dog"]
    other = infer(model, X, labels, reference="cat")
    symmetric = infer(model, X, labels, parametrisation="symmetric")
    for one, two in [
        (first.to_reference("cat"), other),
        (first.to_symmetric(), symmetric),
        (symmetric.to_reference("ant"), first),
        (other.to_symmetric().to_reference("ant"), first),
    ]:
        assert one.row_classes == two.row_classes and one.parametrisation == two.parametrisation
        close(one.params, two.params, 1e-9)
        close(one.cov_params, two.cov_params, 1e-9)
    np.testing.assert_allclose(symmetric.params.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(symmetric.params[:, 1:], model.coef_, rtol=1e-2)
    # The documented relation: params = A W, for W with any vector added to all classes.
    W = symmetric.params + np.arange(5.0)
    for result in (first, other, symmetric):
        close(result.contrast @ W, result.params, 1e-9)
        wide = np.kron(result.contrast, np.eye(5))
        close(wide @ symmetric.cov_params @ wide.T, result.cov_params, 1e-9)
        close(result.wald_tests().statistics, first.wald_tests().statistics, 1e-7)


def test_wald_tests_are_quadratic_forms():
    X, y = sample()
    ours, theirs = infer(fitted(X, y), X, y), mnlogit(X, y)
    tests = ours.wald_tests()
    for j in range(5):
        rows = np.zeros((3, 15))
        rows[np.arange(3), 5 * np.arange(3) + j] = 1
        expected = theirs.wald_test(rows, scalar=True)
        close(tests.statistics[j], expected.statistic)
        np.testing.assert_allclose(tests.pvalues[j], expected.pvalue, rtol=1e-5)
    np.testing.assert_allclose(tests.log_pvalues, np.log(tests.pvalues), rtol=1e-10)
    assert tests.df == 3


def test_p_values_in_the_far_tail():
    mpmath = pytest.importorskip("mpmath")
    X, y = sample(12, 4000, 1, 2)
    y = (X[:, 0] * 4 + np.random.default_rng(0).logistic(size=4000) > 0).astype(int)
    ours = infer(fitted(X, y), X, y)
    z = mpmath.mpf(float(abs(ours.zvalues[0, 1])))
    assert z > 20
    exact = mpmath.erfc(z / mpmath.sqrt(2))
    np.testing.assert_allclose(ours.pvalues[0, 1], float(exact), rtol=1e-12)
    np.testing.assert_allclose(ours.log_pvalues[0, 1], float(mpmath.log(exact)), rtol=1e-14)
    with mpmath.workdps(60):
        for df, x in [(1, 1300.0), (3, 2000.0), (10, 5e4), (301, 4000.0), (2, 10.0), (40, 30.0)]:
            tail = mpmath.gammainc(mpmath.mpf(df) / 2, mpmath.mpf(x) / 2, regularized=True)
            np.testing.assert_allclose(log_chi2_sf(x, df), float(mpmath.log(tail)), rtol=1e-13)
    assert p_text(float(mpmath.log(mpmath.mpf("3e-5000")))) == "3e-5000"


@pytest.mark.parametrize("weighted", [False, True])
def test_average_marginal_effects(weighted):
    X, y = sample()
    model = fitted(X, y)
    ours = infer(model, X, y)
    if not weighted:
        effects, theirs = ours.average_marginal_effects(X), mnlogit(X, y).get_margeff()
        close(effects.effects.T, theirs.margeff)
        close(effects.bse.T, theirs.margeff_se)
        close(ours.average_marginal_effects(scipy.sparse.csr_array(X)).bse, effects.bse, 1e-9)
    rng = np.random.default_rng(1)
    weights, offset = rng.uniform(size=500), rng.normal(size=(500, 4))
    effects = ours.average_marginal_effects(X, sample_weight=weights, offset=offset)
    np.testing.assert_allclose(effects.effects.sum(axis=0), 0, atol=1e-14)

    def mean(theta):
        W = np.vstack([np.zeros(5), theta.reshape(3, 5)])
        P = sm.softmax(W[:, 0] + X @ W[:, 1:].T + offset)
        slopes = P[:, :, None] * (W[None, :, 1:] - (P @ W[:, 1:])[:, None, :])
        return (np.einsum("i,ikj->kj", weights, slopes) / weights.sum()).ravel()

    at = ours.params.ravel()
    close(effects.effects.ravel(), mean(at), 1e-9)
    jacobian = np.array([(mean(at + h) - mean(at - h)) / 2e-5 for h in 1e-5 * np.eye(15)]).T
    close(effects.bse.ravel(), np.sqrt(np.diag(jacobian @ ours.cov_params @ jacobian.T)), 1e-5)
    close((effects.high - effects.low) / effects.bse, np.full((4, 4), 2 * stats.norm.ppf(0.975)))


def test_odds_ratios_are_exponentials():
    X, y = sample()
    ours = infer(fitted(X, y), X, y, level=0.9)
    ratios, bounds = ours.odds_ratios()
    close(ratios, np.exp(ours.params))
    close(bounds, np.exp(ours.conf_int(0.9)))


def test_a_penalised_model_needs_the_assumption_and_gets_the_sandwich():
    X, y = sample(13, 400, 3, 3)
    model = sm.SoftmaxRegression(C=0.05).fit(X, y)
    with pytest.raises(sm.OptionError, match=r"penalty.*assume='sandwich'"):
        infer(model, X, y)
    ours = infer(model, X, y, assume="sandwich")
    theta, scores, info, _ = direct(X, y, ridge=1 / 0.05)
    centred = scores - scores.mean(axis=0)
    assert np.max(np.abs(scores.mean(axis=0))) > 1e-3
    close(ours.params, theta)
    close(ours.cov_params, np.linalg.inv(info) @ centred.T @ centred @ np.linalg.inv(info))
    assert ours.covariance == "HC0" and ours.penalised
    assert np.isnan([ours.llr_pvalue, ours.aic, ours.bic, ours.pseudo_r2["adjusted"]]).all()
    assert "penalised optimum" in ours.summary()
    partly = sm.SoftmaxRegression(C=0.05, penalty_weights=[1.0, 0.0, 2.0]).fit(X, y)
    theta, scores, info, _ = direct(X, y, ridge=np.array([1.0, 0.0, 2.0]) / 0.05)
    centred = scores - scores.mean(axis=0)
    half = infer(partly, X, y, assume="sandwich")
    close(half.params, theta)
    close(half.cov_params, np.linalg.inv(info) @ centred.T @ centred @ np.linalg.inv(info))
    lasso = sm.SoftmaxRegression(C=1.0)
    lasso.__dict__.update(model.__dict__ | {"l1_ratio": 0.5})
    with pytest.raises(sm.OptionError, match="L1 penalty"):
        infer(lasso, X, y, assume="sandwich")


def test_the_scatter_of_penalised_estimates_is_what_the_sandwich_says():
    rng = np.random.default_rng(14)
    W = np.array([[1.0, -1.0], [0.0, 0.5], [-1.0, 0.5]])
    estimates, errors = [], []
    for _ in range(120):
        X = rng.normal(size=(200, 2))
        y = (np.cumsum(sm.softmax(X @ W.T), axis=1)[:, :-1] < rng.uniform(size=(200, 1))).sum(axis=1)
        result = infer(sm.SoftmaxRegression(C=0.2).fit(X, y), X, y, assume="sandwich")
        estimates.append(result.params[:, 1:])
        errors.append(result.bse[:, 1:])
    np.testing.assert_allclose(np.std(estimates, axis=0), np.mean(errors, axis=0), rtol=0.2)
    # It is not the distance to the truth.
    assert np.max(np.abs(np.mean(estimates, axis=0) - (W[1:] - W[0])) / np.mean(errors, axis=0)) > 1


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(15)
    W = np.array([[0.3, 1.0, -1.0], [0.0, 0.0, 0.5], [-0.3, -1.0, 0.5]])
    truth = W[1:] - W[0]
    classical, robust = [], []
    for _ in range(120):
        X = rng.normal(size=(250, 2))
        logits = W[:, 0] + X @ W[:, 1:].T
        y = (np.cumsum(sm.softmax(logits), axis=1)[:, :-1] < rng.uniform(size=(250, 1))).sum(axis=1)
        model = fitted(X, y)
        for hits, covariance in ((classical, "classical"), (robust, "HC1")):
            bounds = infer(model, X, y, covariance=covariance).conf_int()
            hits.append((bounds[..., 0] <= truth) & (truth <= bounds[..., 1]))
    # Intervals of 6 parameters: three standard errors of a share of 0.95 are 0.06 for each, about 0.03 for their mean.
    for hits in (classical, robust):
        assert np.all(np.abs(np.mean(hits, axis=0) - 0.95) < 0.06)
        assert abs(np.mean(hits) - 0.95) < 0.03


def test_clusters_widen_the_intervals_where_rows_repeat():
    X, y = sample(16, 200, 2, 3)
    X4, y4 = np.tile(X, (4, 1)), np.tile(y, 4)
    model = fitted(X4, y4)
    once = infer(fitted(X, y), X, y, covariance="HC0")
    clustered = infer(model, X4, y4, covariance="cluster", clusters=np.tile(np.arange(200), 4))
    factor = 200 / 199 * 799 / (800 - 6)
    close(clustered.cov_params, factor * once.cov_params)


def test_a_model_without_intercept():
    X, y = sample(17, 300, 3, 3)
    model = fitted(X, y, fit_intercept=False)
    ours = infer(model, X, y)
    theirs = statsmodels.MNLogit(y, X).fit(disp=0, method="newton", tol=1e-14)
    close(ours.params.T, theirs.params)
    close(ours.bse.T, theirs.bse)
    close(ours.llnull, -300 * np.log(3))
    assert ours.df_model == 6 and ours.feature_names == ["x0", "x1", "x2"]
    design = np.column_stack([X, X.sum(axis=1) - 2.0])  # the four columns span a constant
    whole = infer(fitted(design, y, fit_intercept=False), design, y)
    with_intercept = infer(fitted(X, y), X, y)
    close([whole.llf, whole.llnull, whole.df_model], [with_intercept.llf, with_intercept.llnull, 6])


def test_coefficients_are_polished_on_a_copy():
    X, y = sample()
    model = fitted(X, y, tol=1e-3)
    before = model.coef_.copy()
    ours = infer(model, X, y)
    assert ours.n_newton >= 1 and ours.distance > ours.score_norm and ours.score_norm < 1e-9
    close(ours.params.T, mnlogit(X, y).params)
    np.testing.assert_array_equal(model.coef_, before)
    assert "Newton step" in ours.summary()


def test_other_data_than_that_of_the_fit_are_refused():
    X, y = sample()
    model = fitted(X, y)
    with pytest.raises(sm.OptionError, match="standard errors away"):
        infer(model, X[:300], y[:300])
    with pytest.raises(sm.OptionError, match="sample_weight"):
        infer(fitted(X, y, sample_weight=1.0 + (y == 2)), X, y)
    with pytest.raises(sm.TargetError, match=r"classes 0, 1, 2 and the model 0, 1, 2, 3"):
        infer(model, X[y < 3], y[y < 3])
    with pytest.raises(sm.TargetError, match="3 columns"):
        infer(model, X[:, :3], y)
    assert model.n_features_in_ == 4


def test_class_weights_have_no_classical_covariance():
    X, y = sample()
    model = fitted(X, y, class_weight="balanced")
    with pytest.raises(sm.OptionError, match="class_weight"):
        infer(model, X, y)
    weights = len(y) / (4 * np.bincount(y))
    _, scores, info, _ = direct(X, y, weights[y])
    ours = infer(model, X, y, covariance="robust")
    close(ours.cov_params, np.linalg.inv(info) @ scores.T @ scores @ np.linalg.inv(info))


def collinear(X):
    return {
        "copy": (np.column_stack([X, X[:, 1]]), r"x4 = 1·x1|x1 = 1·x4"),
        "sum": (np.column_stack([X, 2 * X[:, 0] - 1e4 * X[:, 2] + 7]), r"x\d = .*·x\d .*·x\d \+ constant"),
        "constant": (np.column_stack([X, np.full(len(X), 3.3)]), "x4 is constant"),
        "zero": (np.column_stack([X, np.zeros(len(X))]), "x4 is constant"),
    }


@pytest.mark.parametrize("kind", ["copy", "sum", "constant", "zero"])
def test_collinear_columns_are_named(kind):
    X, y = sample()
    X, expected = collinear(X)[kind]
    model = sm.SoftmaxRegression(C=1e4).fit(X, y).set_params(C=np.inf)
    with pytest.raises(sm.OptionError, match=rf"collinear.*({expected}).*Leave out"):
        infer(model, X, y)
    assert np.isfinite(infer(model.set_params(C=1e4), X, y, assume="sandwich").bse).all()


def separable(kind):
    rng = np.random.default_rng(18)
    X = rng.normal(size=(120, 3))
    y = rng.integers(0, 3, 120)
    if kind == "complete":
        X[:, 1] += 20 * y
    else:
        X[:, 1] = np.where(y == 2, np.abs(X[:, 1]), 0.0)  # 0 everywhere but in class 2
    return X, y


@pytest.mark.parametrize("kind", ["complete", "quasi"])
def test_separated_classes_have_no_standard_errors(kind):
    X, y = separable(kind)
    # As a fit leaves it that did not notice.
    model = sm.SoftmaxRegression(C=1e3).fit(X, y).set_params(C=np.inf)
    model.status_ = "not converged"
    with pytest.raises(sm.OptionError, match=r"no finite estimate.*class 2 less those of class [01] move along x1"):
        infer(model, X, y)
    # And as one that did: the direction comes from there.
    model.status_ = "separated"
    model.separating_direction_ = np.zeros((3, 4))
    model.separating_direction_[:, 0] = [-1.0, 0.0, 1.0]
    with pytest.raises(sm.OptionError, match=r"class 2 less those of class 0 move along x0 \(\+2\)\."):
        infer(model, X, y)
    assert np.isfinite(infer(sm.SoftmaxRegression(C=1.0).fit(X, y), X, y, assume="sandwich").bse).all()


def test_a_likelihood_that_has_stopped_growing_is_no_maximum():
    """Far along a separating direction no step gains anything, and the score is 0 to all digits."""
    X = np.linspace(-1.0, 1.0, 40)[:, None]
    y = (X[:, 0] > 0).astype(int)
    model = sm.SoftmaxRegression().fit(X, y).set_params(C=np.inf)
    model.coef_ = np.array([[-900.0], [900.0]])
    with pytest.raises(sm.OptionError, match="no finite estimate"):
        infer(model, X, y)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("undecided", "no standard errors.*is undecided.*Penalise"),
        ("overlapping", "a finite estimate exists.*in 1 steps"),
    ],
)
def test_an_estimate_that_is_not_found_is_refused_with_the_verdict(verdict, words, monkeypatch):
    """Only a direction in hand is called a separation."""
    X, y = sample()
    model = sm.SoftmaxRegression(C=10.0).fit(X, y).set_params(C=np.inf)
    monkeypatch.setattr("softmax.regression._inference.MAX_STEPS", 1)
    if verdict == "undecided":
        monkeypatch.setattr("softmax.regression._separation.LARGEST_COPY", 1)
    with pytest.raises(sm.OptionError, match=words) as caught:
        infer(model, X, y)
    assert "no finite estimate" not in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr("softmax.regression._inference.SINGULAR", 1.0)
    with pytest.raises(sm.OptionError, match=r"a finite estimate exists.*singular to rounding"):
        infer(model, X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "HC3"}, "covariance must be one of"),
        ({"covariance": "cluster"}, "belong together"),
        ({"clusters": np.arange(500)}, "belong together"),
        ({"covariance": "cluster", "clusters": np.arange(3)}, r"shape \(500,\), got \(3,\)"),
        ({"covariance": "cluster", "clusters": np.zeros(500)}, "at least 2 clusters"),
        ({"covariance": "cluster", "clusters": np.r_[np.nan, np.ones(499)]}, "missing value at row 0"),
        ({"reference": 9}, "one of 0, 1, 2, 3; got 9"),
        ({"parametrisation": "dummy"}, "parametrisation must be"),
        ({"assume": "normal"}, "assume must be"),
        ({"level": 95}, "level must be a number between 0 and 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    X, y = sample()
    model = sm.SoftmaxRegression(C=1e9).fit(X, y).set_params(C=np.inf)
    with pytest.raises(sm.OptionError, match=message):
        infer(model, X, y, **options)


def test_too_many_parameters_say_what_they_need(monkeypatch):
    X, y = sample()
    model = fitted(X, y)
    monkeypatch.setattr("softmax.regression._inference.available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"15 parameters needs about 0\.0 GB.* at most 5 parameters fit"):
        infer(model, X, y)


def test_the_summary_is_a_table_of_eighty_columns():
    pandas = pytest.importorskip("pandas")
    X, y = sample()
    frame = pandas.DataFrame(X, columns=["a name that is longer than any column of a table", "b", "c", "d"])
    labels = np.array(["a class with a name beyond the width of the eighty columns of " + "x" * 40, "b", "c", "d"])[y]
    model = fitted(frame, labels)
    for result in (infer(model, frame, labels), infer(model, frame, labels, parametrisation="symmetric")):
        text = result.summary()
        assert max(len(line) for line in text.splitlines()) <= 80
        for row in re.findall(r"^(?:b|c|d) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$", text, re.MULTILINE):
            assert all(np.isfinite(float(entry)) for entry in row)
        assert len(re.findall("^Class ", text, re.MULTILINE)) == len(result.row_classes)
    assert "500" in text and "Joint tests" in text and "a name that is lon…" in text


@pytest.mark.parametrize("covariance", ["classical", "HC0", "cluster"])
def test_blocks_of_rows_do_not_matter(covariance, monkeypatch):
    X, y = sample(n=300)
    model = fitted(X, y)
    clusters = np.arange(300) % 30 if covariance == "cluster" else None
    whole = infer(model, X, y, covariance=covariance, clusters=clusters)
    effects = whole.average_marginal_effects(X)
    monkeypatch.setattr("softmax.regression._information.BLOCK_ELEMENTS", 1)  # 64 rows
    parts = infer(model, X, y, covariance=covariance, clusters=clusters)
    close(parts.cov_params, whole.cov_params, 1e-9)
    close([parts.llf, parts.llnull], [whole.llf, whole.llnull], 1e-12)
    close(parts.average_marginal_effects(X).bse, effects.bse, 1e-9)


@pytest.mark.parametrize("covariance", ["classical", "HC0"])
def test_threads_do_not_matter(covariance, monkeypatch):
    """Many classes of few columns, by spans of rows; against the plain way."""
    X, y = sample(22, 3000, 3, 4)[0], np.random.default_rng(23).integers(0, 12, 3000)
    _, scores, info, _ = direct(X, y)
    inverse = np.linalg.inv(info)
    expected = inverse if covariance == "classical" else inverse @ scores.T @ scores @ inverse
    model = fitted(X, y)
    one = infer(model.set_params(n_threads=1), X, y, covariance=covariance)
    monkeypatch.setattr("softmax.regression._inference.THREADS_FROM", 0.0)
    three = infer(model.set_params(n_threads=3), X, y, covariance=covariance)
    for ours in (one, three):
        close(ours.cov_params, expected)
    close(three.cov_params, one.cov_params, 1e-9)
    np.testing.assert_array_equal(infer(model, X, y, covariance=covariance).cov_params, three.cov_params)


def test_the_table_as_columns_and_as_a_frame(monkeypatch):
    pandas = pytest.importorskip("pandas")
    X, y = sample()
    ours = infer(fitted(X, y), X, y)
    columns = ours.to_dict()
    assert list(columns) == ["class", "feature", "coef", "std_err", "z", "p", "log_p", "low", "high"]
    assert columns["class"][5:7] == [2, 2] and columns["feature"][:2] == ["intercept", "x0"]
    frame = ours.to_frame()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 15
    close(frame["coef"].to_numpy().reshape(3, 5), ours.params)
    for name in ("pandas", "polars"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(sm.MissingExtraError, match="pandas or polars"):
        ours.to_frame()


def test_nothing_of_the_callers_is_changed():
    X, y = sample()
    weights = np.ones(500)
    model = fitted(X, y)
    state = {name: np.copy(value) for name, value in vars(model).items() if isinstance(value, np.ndarray)}
    copies = X.copy(), y.copy()
    infer(model, X, y, sample_weight=weights)
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(y, copies[1])
    for name, value in state.items():
        np.testing.assert_array_equal(getattr(model, name), value)


def test_the_example_gives_what_it_shows():
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    tests = [test for test in doctest.DocTestFinder().find(infer, globs={}) if test.examples]
    assert tests
    for test in tests:
        runner.run(test)
    assert runner.failures == 0
