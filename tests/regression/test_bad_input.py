"""Bad data and faults of a fit: a clear error or a right answer, and never a wrong one without a word."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_wine

import softmax as sm

FITS = {
    "ridge": {},
    "newton-cg": {"solver": "newton-cg"},
    "no penalty": {"C": np.inf},
    "lasso": {"l1_ratio": 0.5, "C": 0.1},
    "limits": {"bounds": (0.0, None)},
}


@pytest.fixture(scope="module")
def wine():
    return load_wine(return_X_y=True)


def sample(seed, n=300, d=5, n_classes=3):
    """Classes that overlap."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)


# -- X


def storages(X):
    """X in every storage that a fit takes, by name."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    names = [f"c{j}" for j in range(X.shape[1])]
    return {
        "C": X,
        "Fortran": np.asfortranarray(X),
        "float32": X.astype(np.float32),
        "object": X.astype(object),
        "CSR": sp.csr_array(X),
        "CSC": sp.csc_array(X),
        "pandas": pandas.DataFrame(X, columns=names),
        "polars": polars.DataFrame(X, schema=names),
    }


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_named_by_row_and_column(wine, value, word):
    X, y = wine
    holed = X.copy()
    holed[170, 12] = value
    fitted = sm.SoftmaxRegression().fit(X, y)
    named = sm.SoftmaxRegression().fit(storages(X)["pandas"], y)
    for name, data in storages(holed).items():
        column = r"12 \(c12\)" if name in ("pandas", "polars") else "12"
        for call in (
            lambda data=data: sm.SoftmaxRegression().fit(data, y),
            lambda data=data, model=named if "p" in name else fitted: model.predict_proba(data),
            lambda data=data: sm.SoftmaxRegressionCV().fit(data, y),
            lambda data=data: sm.softmax_path(data, y),
        ):
            with pytest.raises(sm.ArrayValueError, match=f"{word} at row 170, column {column}"):
                call()


def with_entry(X, part, place, value):
    """A copy of a sparse matrix with one number of an index array changed."""
    X = X.copy()
    getattr(X, part)[place] = value
    return X


def without_tail(X):
    X = X.copy()
    X.data = X.data[:-5]
    return X


DAMAGED = {
    "index too large": (
        lambda X: with_entry(X, "indices", 3, 99),
        r"index 99 at position 3 of indices is outside \[0, 13",
    ),
    "index negative": (lambda X: with_entry(X, "indices", 3, -1), "index -1 at position 3"),
    "pointers fall": (lambda X: with_entry(X, "indptr", 5, 1), "indptr must rise"),
    "pointers too large": (lambda X: with_entry(X, "indptr", -1, 10**6), "indptr must rise"),
    "pointers begin late": (lambda X: with_entry(X, "indptr", 0, 2), "indptr must rise"),
    "values missing": (without_tail, "indptr must rise"),
    "columns of CSC": (lambda X: with_entry(X.tocsc(), "indices", 3, 999), r"CSC matrix: index 999 .* \[0, 178\)"),
    "column of COO": (lambda X: with_entry(X.tocoo(), "col", 3, 99), r"COO matrix: column 99 is outside \[0, 13\)"),
    "row of COO": (lambda X: with_entry(X.tocoo(), "row", 3, -1), "COO matrix: row -1"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_sparse_matrices_are_refused(wine, kind):
    """SciPy reads and writes beyond its arrays there; predictions must not, either."""
    X, y = wine
    damage, words = DAMAGED[kind]
    broken = damage(sp.csr_matrix(X))
    model = sm.SoftmaxRegression().fit(X, y)
    for call in (lambda: sm.SoftmaxRegression().fit(broken, y), lambda: model.predict(broken)):
        with pytest.raises(sm.ArrayValueError, match=words):
            call()


@pytest.mark.parametrize("lying", [False, True], ids=["", "flags set"])
@pytest.mark.parametrize("kind", ["unsorted", "repeated", "int64"])
def test_odd_but_valid_sparse_matrices_are_read_right(wine, kind, lying):
    X, y = wine
    A = sp.csr_array(X)
    if kind == "unsorted":
        order = np.concatenate([np.arange(A.indptr[i], A.indptr[i + 1])[::-1] for i in range(len(X))])
        odd = sp.csr_array((A.data[order], A.indices[order], A.indptr), shape=A.shape)
    elif kind == "repeated":
        odd = sp.csr_array((np.repeat(A.data / 2, 2), np.repeat(A.indices, 2), 2 * A.indptr), shape=A.shape)
    else:
        odd = sp.csr_array((A.data, A.indices.astype(np.int64), A.indptr.astype(np.int64)), shape=A.shape)
    if lying:
        odd.has_sorted_indices = odd.has_canonical_format = True
    before = odd.data.copy(), odd.indices.copy()
    for options in ({}, {"l1_ratio": 0.5, "C": 0.1}):
        expected = sm.SoftmaxRegression(tol=1e-10, **options).fit(A, y)
        model = sm.SoftmaxRegression(tol=1e-10, **options).fit(odd, y)
        np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)
        np.testing.assert_allclose(model.predict_proba(odd), model.predict_proba(X), atol=1e-12)
    np.testing.assert_array_equal(odd.data, before[0])
    np.testing.assert_array_equal(odd.indices, before[1])


@pytest.mark.parametrize("fit", ["ridge", "newton-cg", "lasso", "limits"])
def test_constant_and_duplicated_columns(fit):
    """A constant has no part; of a column that is there twice both get the same, and the predictions of one at twice C
    (under an L2 penalty).
    """
    X, y = sample(0)
    options = {"tol": 1e-10} | FITS[fit]
    plain = sm.SoftmaxRegression(**options).fit(X, y)
    constant = sm.SoftmaxRegression(**options).fit(np.column_stack([X, np.full(len(X), 0.1)]), y)
    np.testing.assert_allclose(constant.coef_, np.column_stack([plain.coef_, np.zeros(3)]), atol=1e-5)
    twice = sm.SoftmaxRegression(**options).fit(np.column_stack([X, X[:, 0]]), y)
    assert twice.status_ == constant.status_ == "certified"
    if fit != "lasso":
        np.testing.assert_allclose(twice.coef_[:, 0], twice.coef_[:, -1], atol=1e-5)
    assert twice.objective_ <= plain.objective_ * (1 + 1e-9)


def test_duplicated_columns_without_penalty_give_the_right_predictions():
    X, y = sample(1)
    expected = sm.SoftmaxRegression(np.inf, tol=1e-12).fit(X, y)
    with pytest.warns(sm.NotCertifiedWarning, match="not determined along one direction, mostly column"):
        twice = sm.SoftmaxRegression(np.inf, tol=1e-12).fit(np.column_stack([X, X[:, 0]]), y)
    np.testing.assert_allclose(twice.predict_proba(np.column_stack([X, X[:, 0]])), expected.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"solver": "newton-cg"}, {"l1_ratio": 0.5, "C": 0.5}, {"bounds": (-1, None)}])
def test_fewer_rows_than_classes_and_one_row_each(options):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((3, 4))
    P = rng.dirichlet(np.ones(5), 3)
    model = sm.SoftmaxRegression(**options).fit(X, P)
    assert model.status_ == "certified"
    assert model.predict_proba(X).shape == (3, 5)
    assert sm.SoftmaxRegression(**options).fit(X, ["a", "b", "c"]).status_ == "certified"
    assert sm.SoftmaxRegression(**options).fit([[0.0], [1.0]], [0, 1]).status_ == "certified"


def test_too_few_rows_for_the_folds_are_told():
    with pytest.raises(sm.OptionError, match="cv=5 folds need at least as many rows, and X has 3"):
        sm.SoftmaxRegressionCV().fit(np.eye(3), ["a", "b", "c"])


# -- y


@pytest.mark.parametrize("labels", [[1, "a"], (1, "a"), [b"a", 1.5], [None, "a"]], ids=repr)
@pytest.mark.parametrize("form", [list, tuple, "object"])
def test_labels_of_mixed_types(wine, labels, form):
    X, _ = wine
    y = list(labels) * 89
    y = np.array(y, dtype=object) if form == "object" else form(y)
    for call in (
        lambda: sm.SoftmaxRegression().fit(X, y),
        lambda: sm.SoftmaxRegressionCV().fit(X, y),
        lambda: sm.softmax_path(X, y),
    ):
        with pytest.raises(sm.TargetError, match=r"mixes labels that cannot be sorted .* Convert them to one type"):
            call()


def test_labels_of_one_type_in_a_list_stay(wine):
    X, y = wine
    for labels in (["a", "bc", "d"], [True, False, True], [3, 1.0, 2]):
        model = sm.SoftmaxRegression(tol=0.1).fit(X, [labels[k] for k in y])
        assert model.classes_.tolist() == sorted(set(labels))


def test_one_class(wine):
    X, _ = wine
    for y in (np.zeros(178), ["a"] * 178, [b"x"] * 178):
        for call in (sm.SoftmaxRegression().fit, sm.SoftmaxRegressionCV().fit, sm.softmax_path):
            with pytest.raises(sm.TargetError, match="at least 2 classes, got 1 class"):
                call(X, y)


# -- weights and C


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.zeros(178), "at least one non-zero"),
        (-np.ones(178), "Negative values in data passed to `sample_weight`"),
        (np.full(178, np.nan), "sample_weight contains NaN"),
        (np.full(178, np.inf), "sample_weight contains infinity"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(178,\)"),
        (np.r_[np.zeros(59), np.ones(119)], "class 0 has total weight 0"),
        (np.full(178, 1e307), "sum to more than float64 holds; the largest is 1e[+]307"),
        (np.full(178, 5e-324), "weights that sum to .*e-322 leave the range of numbers"),
    ],
    ids=["zero", "negative", "nan", "inf", "short", "a class", "huge", "tiny"],
)
def test_weights_that_are_refused(wine, weights, words):
    with pytest.raises(ValueError, match=words):
        sm.SoftmaxRegression().fit(*wine, weights)
    if "leave the range" not in words:
        with pytest.raises(ValueError, match=words):
            sm.SoftmaxRegressionCV().fit(*wine, sample_weight=weights)


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_only_the_product_of_weights_and_penalty_matters(wine, scale):
    X, y = wine
    expected = sm.SoftmaxRegression(tol=1e-9).fit(X, y)
    model = sm.SoftmaxRegression(1.0 / scale, tol=1e-9).fit(X, y, np.full(178, scale))
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)


@pytest.mark.parametrize("C", [0, -1.0, np.nan, -np.inf, None, "1", True, [1.0]])
def test_strengths_that_are_refused(wine, C):
    with pytest.raises(sm.OptionError, match="C must be a number > 0"):
        sm.SoftmaxRegression(C).fit(*wine)
    if isinstance(C, int | float) and not C > 0:
        with pytest.raises(sm.OptionError, match="every C must be a number > 0"):
            sm.softmax_path(*wine, [1.0, C])
        with pytest.raises(sm.OptionError, match="every C must be a number > 0"):
            sm.SoftmaxRegressionCV(Cs=[1.0, C]).fit(*wine)


# -- threads and processes


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_two_threads_predict_with_one_estimator(kind):
    X, y = sample(3, n=4000, d=20, n_classes=8)
    data = sp.csr_array(X) if kind == "sparse" else X
    model = sm.SoftmaxRegression(n_threads=2).fit(data, y)
    expected = [model.predict_proba(data), model.predict_log_proba(data), model.predict(data)]
    state, wrong, start = repr(vars(model)), [], threading.Barrier(2)

    def work():
        start.wait()
        for _ in range(10):
            found = [model.predict_proba(data), model.predict_log_proba(data), model.predict(data)]
            wrong.extend(not np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

    _together([work, work])
    assert len(wrong) == 60
    assert not any(wrong)
    assert repr(vars(model)) == state


@pytest.mark.parametrize("fit", FITS)
def test_two_threads_fit_two(fit):
    options = {"tol": 1e-10, "n_threads": 2} | FITS[fit]
    samples = [sample(4, 3000, 6, 3), sample(5, 2500, 4, 5)]
    expected = [sm.SoftmaxRegression(**options).fit(*data) for data in samples]
    found, start = [[], []], threading.Barrier(2)

    def work(which):
        start.wait()
        for _ in range(3):
            found[which].append(sm.SoftmaxRegression(**options).fit(*samples[which]))

    _together([lambda: work(0), lambda: work(1)])
    for models, alone in zip(found, expected, strict=True):
        assert len(models) == 3
        for model in models:
            assert model.status_ == alone.status_
            np.testing.assert_allclose(model.coef_, alone.coef_, atol=1e-5)
            np.testing.assert_allclose(model.objective_, alone.objective_, rtol=1e-9)


def _together(tasks):
    """Run tasks in a thread each; what one raises is raised here."""
    errors = []

    def guarded(task):
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


FORK = """
import multiprocessing, warnings
import numpy as np
import softmax as sm

warnings.simplefilter("ignore", DeprecationWarning)
rng = np.random.default_rng(0)
X = rng.standard_normal((40_000, 10))
y = (X @ rng.standard_normal((10, 6)) + rng.gumbel(size=(40_000, 6))).argmax(axis=1)
model = sm.SoftmaxRegression(n_threads=2, tol=1e-9).fit(X, y)
lasso = sm.SoftmaxRegression(1e-3, l1_ratio=1.0, n_threads=2).fit(X, y)

def work(_):
    proba = model.predict_proba(X)
    again = sm.SoftmaxRegression(n_threads=2, tol=1e-9).fit(X, y)
    sparse = sm.SoftmaxRegression(1e-3, l1_ratio=1.0, n_threads=2).fit(X, y)
    soft = sm.softmax(X)
    return proba.sum(), again.coef_, sparse.coef_, soft.sum()

expected = work(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    for found in pool.map_async(work, range(2)).get(100):
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(a, b)
np.testing.assert_array_equal(work(0)[1], expected[1])
print("children agree")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_fork_after_a_fit():
    """Pools of threads do not live on in a child: it must not wait for them."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert "children agree" in done.stdout
