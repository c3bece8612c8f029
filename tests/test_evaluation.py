"""The reliability table: against scikit-learn, a plain loop, and closed forms."""

import itertools
import json

import numpy as np
import pytest
import scipy.stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

import softmax as sm


def sample(n=700, n_classes=4, sharpness=1.5, seed=0):
    """Probabilities that are too bold, and labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, n_classes))
    u = rng.uniform(size=(n, 1))
    y = (np.cumsum(sm.softmax(logits), axis=1)[:, :-1] < u).sum(axis=1)
    return y, sm.softmax(sharpness * logits)


def plain(values, hits, weights, edges):
    """Bins (low, high], one by one."""
    rows = []
    for b, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (values > low) & (values <= high) | ((b == 0) & (values == low))
        w = weights[inside]
        if not inside.any():
            continue
        a, m = np.average(hits[inside], weights=w), w.sum() ** 2 / np.sum(w**2)
        rows.append((inside.sum(), w.sum(), np.average(values[inside], weights=w), a, np.sqrt(a * (1 - a) / m)))
    return np.array(rows)


def of(bins):
    used = bins.count > 0
    names = ("count", "weight", "confidence", "accuracy", "standard_error")
    return np.array([getattr(bins, name)[used] for name in names]).T


@pytest.mark.parametrize("weighted", [False, True])
def test_the_bins_are_those_of_a_plain_loop(weighted):
    y, p = sample()
    weights = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else np.ones(len(y))
    table = sm.reliability_table(y, p, n_bins=10, sample_weight=weights if weighted else None)
    top = p.argmax(axis=1)
    rows = plain(p.max(axis=1), top == y, weights, np.linspace(0, 1, 11))
    assert len(rows) > 5
    np.testing.assert_allclose(of(table.bins), rows, rtol=1e-12)
    gaps = np.abs(rows[:, 3] - rows[:, 2])
    assert gaps.max() > 0.05
    np.testing.assert_allclose([table.ece, table.mce], [np.average(gaps, weights=rows[:, 1]), gaps.max()], rtol=1e-12)
    np.testing.assert_allclose(
        of(table.of_class(2)), plain(p[:, 2], y == 2, weights, np.linspace(0, 1, 11)), rtol=1e-12
    )
    np.testing.assert_allclose(table.class_errors()[2], table.of_class(2).ece)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_of_a_class_agree_with_scikit_learn(strategy):
    y, p = sample()
    table = sm.reliability_table(y, p, n_bins=8, strategy=strategy)
    for k in range(4):
        bins = table.of_class(k)
        true, predicted = calibration_curve(y == k, p[:, k], n_bins=8, strategy=strategy)
        used = bins.count > 0
        np.testing.assert_allclose(bins.accuracy[used], true, rtol=1e-12)
        np.testing.assert_allclose(bins.confidence[used], predicted, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_agree_with_scikit_learn(weighted):
    y, p = sample()
    weights = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else None
    table = sm.reliability_table(y, p, sample_weight=weights)
    np.testing.assert_allclose(table.log_loss, log_loss(y, p, sample_weight=weights), rtol=1e-12)
    np.testing.assert_allclose(table.brier, brier_score_loss(y, p, sample_weight=weights), rtol=1e-12)
    np.testing.assert_allclose(table.accuracy, accuracy_score(y, p.argmax(axis=1), sample_weight=weights), rtol=1e-12)
    np.testing.assert_allclose(table.confidence, np.average(p.max(axis=1), weights=weights), rtol=1e-12)


def test_intervals_are_wilsons():
    y, p = sample()
    bins = sm.reliability_table(y, p, n_bins=6).bins
    for b in np.flatnonzero(bins.count):
        hits = round(bins.accuracy[b] * bins.count[b])
        interval = scipy.stats.binomtest(hits, int(bins.count[b])).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose([bins.lower[b], bins.upper[b]], [interval.low, interval.high], atol=1e-12)


def test_right_probabilities_have_less_error_than_bold_ones():
    right, bold = (sm.reliability_table(*sample(20000, sharpness=s)).ece for s in (1.0, 2.0))
    assert right < 0.02 < 0.08 < bold


def test_weights_are_repetitions_and_zero_is_absence():
    y, p = sample(200)
    weights = np.random.default_rng(2).integers(0, 3, 200)
    repeated = np.repeat(np.arange(200), weights)
    one = sm.reliability_table(y, p, sample_weight=weights, classes=range(4))
    two = sm.reliability_table(y[repeated], p[repeated], classes=range(4))
    for name in ("ece", "mce", "brier", "log_loss", "accuracy"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-12)
    assert one.n_rows == np.count_nonzero(weights)


def test_labels_of_any_kind_and_order():
    y, p = sample()
    names = np.array(["d", "b", "c", "a"])
    table = sm.reliability_table(names[y], p, classes=names)
    np.testing.assert_allclose(table.ece, sm.reliability_table(y, p).ece)
    np.testing.assert_allclose(table.of_class("a").accuracy, sm.reliability_table(y, p).of_class(3).accuracy)
    two = sm.reliability_table(np.array(["no", "yes"])[y % 2], p[:, 1] + p[:, 3])
    both = np.column_stack([p[:, 0] + p[:, 2], p[:, 1] + p[:, 3]])
    np.testing.assert_allclose(two.brier, sm.reliability_table(y % 2, both).brier)


def test_quantile_bins_hold_equal_weight_and_survive_ties():
    y, p = sample()
    bins = sm.reliability_table(y, p, n_bins=7, strategy="quantile").bins
    np.testing.assert_allclose(bins.count, 100, atol=1)
    weights = np.random.default_rng(2).uniform(0.1, 2, len(y))
    weighted = sm.reliability_table(y, p, n_bins=7, strategy="quantile", sample_weight=weights).bins
    np.testing.assert_allclose(weighted.weight, weights.sum() / 7, rtol=0.03)
    tied = sm.reliability_table([0, 1, 1], [[0.3, 0.7]] * 3, strategy="quantile")
    assert tied.bins.count.sum() == 3 and tied.ece == pytest.approx(0.7 - 2 / 3)


def test_sure_answers():
    table = sm.reliability_table([0, 1, 1], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert table.log_loss == np.inf and table.ece == pytest.approx(1 / 3)
    assert table.bins.count[-1] == 3
    assert sm.reliability_table([0, 1], [[1.0, 0.0], [0.0, 1.0]]).ece == 0


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    bins = sm.reliability_table([0, 1, 0], [[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]], n_bins=4).bins
    assert bins.count.tolist() == [0, 1, 1, 1]


def test_summary_and_dict():
    y, p = sample()
    table = sm.reliability_table(y, p)
    text = table.summary()
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) == 5 + np.count_nonzero(table.bins.count)
    figures = json.loads(json.dumps(table.to_dict()))
    assert figures["ece"] == table.ece and figures["bins"]["accuracy"][0] is None and figures["rows"] == 700


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([0, 1], [[0.5, 0.6], [0.5, 0.5]]), {}, sm.ArrayValueError, "row 0 sums to 1.1.*sm.softmax"),
        (([0, 1], [[0.5, 0.5], [-2.0, 3.0]]), {}, sm.ArrayValueError, "got -2.0 at row 1, class 0"),
        (([0, 1], [[0.5, 0.5], [np.nan, 1]]), {}, sm.ArrayValueError, "got nan at row 1, class 0"),
        (([0, 1], [["a", "b"], ["a", "b"]]), {}, sm.ArrayValueError, "must be numbers"),
        (([0, 1], [[1.0], [1.0]]), {}, sm.ArrayValueError, r"shape \(n, K\)"),
        (([0, 1, 1], [[0.5, 0.5], [0.5, 0.5]]), {}, sm.TargetError, r"shape \(2,\), got \(3,\)"),
        (([1, 1], [[0.5, 0.5], [0.5, 0.5]]), {}, sm.TargetError, "1 labels.*2 columns.*Pass classes"),
        (([1, 5], [[0.5, 0.5], [0.5, 0.5]]), {"classes": [0, 1]}, sm.TargetError, r"label 5 of row 1 is none of"),
        (([0, 1], [[0.5, 0.5], [0.5, 0.5]]), {"n_bins": 0}, sm.OptionError, "n_bins"),
        (([0, 1], [[0.5, 0.5], [0.5, 0.5]]), {"strategy": "equal"}, sm.OptionError, "strategy"),
        (([0, 1], [[0.5, 0.5], [0.5, 0.5]]), {"sample_weight": [1, -1]}, sm.ArrayValueError, "sample_weight"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        sm.reliability_table(*arguments, **options)


def test_a_class_that_is_not_there():
    with pytest.raises(sm.OptionError, match="got 'x'"):
        sm.reliability_table([0, 1], [[0.5, 0.5], [0.5, 0.5]]).of_class("x")
