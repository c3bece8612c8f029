"""The benchmark of the classifiers: a complete registry, a gap that can be trusted, goals told as they are."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import minimize

pytest.importorskip("benchmarks", reason="the benchmarks are not part of an installed package: run from the checkout")

from benchmarks.regression import datasets, environments, features, goals, measure, plot, report, run, search, synthetic
from benchmarks.regression.gap import Objective, lower_bound, relative_gap, separates
from benchmarks.regression.methods import METHODS
from benchmarks.regression.optimum import Optimum
from benchmarks.regression.registry import CASES, KINDS, select
from benchmarks.regression.tables import standardised, stratified_folds
from benchmarks.regression.tasks import Answer, Task, largest_lasso, task_of, warm_up_of

BY_ID = {case.id: case for case in CASES}


def small_data(n=60, d=3, K=4, seed=0, noise=1.5):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * [1.0, 3.0, 0.3][:d] + 1
    y = np.argmax(X @ rng.standard_normal((d, K)) + noise * rng.gumbel(size=(n, K)), axis=1)
    y[:K] = np.arange(K)
    return X, y, K


def slow_value(objective, W, b):
    """The definition, a row at a time."""
    loss = 0.0
    X = objective.X.toarray() if scipy.sparse.issparse(objective.X) else objective.X
    for x, label in zip(X, objective.y, strict=True):
        z = [float(W[k] @ x + b[k]) for k in range(objective.n_classes)]
        loss += math.log(sum(math.exp(value - max(z)) for value in z)) + max(z) - z[label]
    columns = [math.sqrt(sum(w * w for w in W[:, j])) for j in range(W.shape[1])]
    norm = sum(columns) if objective.grouped else sum(abs(float(w)) for w in W.ravel())
    return loss / len(objective.y) + objective.ridge / 2 * sum(c * c for c in columns) + objective.lasso * norm


def slow_optimum(objective, steps=20_000):
    """The optimum by proximal gradient steps with momentum, begun again when that points uphill: slow, but sure."""
    X = objective.X.toarray() if scipy.sparse.issparse(objective.X) else objective.X
    n, K = len(objective.y), objective.n_classes
    x = np.column_stack([X, np.ones(n)])
    Y = np.eye(K)[objective.y]
    step = 1 / (0.5 * np.linalg.norm(x, 2) ** 2 / n + objective.ridge)
    W = V = np.zeros((K, x.shape[1]))
    t = 1.0
    for _ in range(steps):
        z = x @ V.T
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        new = V - step * ((p - Y).T @ x / n + objective.ridge * np.column_stack([V[:, :-1], np.zeros(K)]))
        if objective.grouped:
            sizes = np.linalg.norm(new[:, :-1], axis=0)
            new[:, :-1] *= np.maximum(0, 1 - step * objective.lasso / np.maximum(sizes, 1e-300))
        else:
            new[:, :-1] = np.sign(new[:, :-1]) * np.maximum(0, np.abs(new[:, :-1]) - step * objective.lasso)
        if np.abs(new - V).max() < 1e-15:
            break
        uphill = np.vdot(V - new, new - W) > 0
        following = 1.0 if uphill else (1 + math.sqrt(1 + 4 * t * t)) / 2
        V = new + (0.0 if uphill else (t - 1) / following) * (new - W)
        W, t = new, following
    return W[:, :-1], W[:, -1]


PENALTIES = {
    "ridge": {"ridge": 0.02},
    "lasso": {"ridge": 0.0, "lasso": 0.03},
    "elastic net": {"ridge": 0.02, "lasso": 0.03},
    "grouped": {"ridge": 0.0, "lasso": 0.05, "grouped": True},
    "none": {"ridge": 0.0},
}


@pytest.fixture(scope="module", params=PENALTIES)
def solved(request):
    X, y, K = small_data()
    objective = Objective(X, y, K, **PENALTIES[request.param])
    return objective, *slow_optimum(objective)


class TestGap:
    def test_value_is_the_definition(self, solved):
        objective, W, b = solved
        rng = np.random.default_rng(1)
        for size in (0.1, 1.0, 30.0):
            w, c = size * rng.standard_normal(W.shape), rng.standard_normal(b.shape)
            assert objective.value(w, c) == pytest.approx(slow_value(objective, w, c), rel=1e-13)
        sparse = replace(objective, X=scipy.sparse.csr_matrix(objective.X))
        assert sparse.value(scipy.sparse.csr_matrix(W), b) == pytest.approx(slow_value(objective, W, b), rel=1e-13)

    def test_bound_meets_the_optimum(self, solved):
        objective, W, b = solved
        value = objective.value(W, b)
        assert abs(relative_gap(value, lower_bound(objective, W, b))) < 1e-9
        # The optimum of the test is one: nothing near it is lower.
        rng = np.random.default_rng(2)
        for size in (1e-4, 1e-2):
            moved = W + size * rng.standard_normal(W.shape) * (W != 0), b + size * rng.standard_normal(b.shape)
            assert objective.value(*moved) >= value - 1e-12

    def test_bound_never_passes_the_optimum(self, solved):
        objective, W, b = solved
        optimum = objective.value(W, b)
        rng = np.random.default_rng(3)
        for size in (1e-6, 1e-3, 0.1, 1.0, 10.0):
            for _ in range(5):
                w, c = W + size * rng.standard_normal(W.shape), b + size * rng.standard_normal(b.shape)
                assert lower_bound(objective, w, c) <= optimum * (1 + 1e-10)

    def test_bound_without_the_best_intercept(self, solved):
        objective, W, b = solved
        if objective.ridge == 0 and objective.lasso == 0:
            pytest.skip("without penalty the intercept is a coefficient like others")
        poor = b + np.array([0.3, -0.2, 0.1, 0.0])
        assert relative_gap(objective.value(W, b), lower_bound(objective, W, poor)) < 1e-7

    def test_blocks_and_sparse_change_nothing(self, solved, monkeypatch):
        objective, W, b = solved
        expected = objective.value(W, b), lower_bound(objective, W, b)
        monkeypatch.setattr("benchmarks.regression.gap.BLOCK", 7 * objective.n_classes)
        for X in (objective.X, scipy.sparse.csr_matrix(objective.X)):
            other = replace(objective, X=X)
            assert [len(labels) for _, labels in other.blocks()] == [7] * 8 + [4]
            assert (other.value(W, b), lower_bound(other, W, b)) == pytest.approx(expected, rel=1e-12)

    def test_agrees_with_a_solver_of_others(self):
        X, y, K = small_data(seed=5)
        objective = Objective(X, y, K, 1 / (2.0 * len(y)))
        linear_model = pytest.importorskip("sklearn.linear_model")
        model = linear_model.LogisticRegression(C=2.0, solver="newton-cg", tol=1e-12).fit(X, y)
        value = objective.value(model.coef_, model.intercept_)
        assert abs(relative_gap(value, lower_bound(objective, model.coef_, model.intercept_))) < 1e-12
        found = minimize(lambda w: objective.value(w[: K * 3].reshape(K, 3), w[K * 3 :]), np.zeros(K * 4), tol=1e-9)
        assert found.fun == pytest.approx(value, rel=1e-7)

    def test_far_from_an_optimum_without_penalty_there_is_no_bound(self):
        X, y, K = small_data()
        assert (
            lower_bound(Objective(X, y, K, 0.0), np.full((K, 3), 5.0) * np.arange(K)[:, None], np.zeros(K)) == -np.inf
        )

    def test_gap_of_what_is_not_finite(self):
        assert relative_gap(float("nan"), 1.0) == math.inf
        assert relative_gap(2.0, 1.0) == 0.5

    def test_a_separating_direction(self):
        X = np.array([[0.0], [1.0], [2.0], [3.0]])
        y = np.array([0, 0, 1, 1])
        right = np.array([[-1.0, 1.5], [1.0, -1.5]])
        assert separates(X, y, right)
        assert separates(scipy.sparse.csr_matrix(X), y, right)
        assert not separates(X, y, -right)
        assert not separates(X, y, np.ones((2, 2))), "it moves nothing"
        assert not separates(X, np.array([0, 1, 0, 1]), right)


class TestOptimum:
    def test_nobody_is_judged_by_a_poor_reference(self, tmp_path):
        X, y, K = small_data()
        task = Task("fit", X, y, K, (1.0,))
        (objective,) = task.objectives()
        best = slow_optimum(objective)
        case = replace(BY_ID["R13-iris"], target=1e-8)
        data = datasets.Data(X, y, K)
        datasets.store(data, tmp_path / "data")
        optimum = Optimum(case, 1, tmp_path / "data", cache=tmp_path)
        assert not optimum.near().any()
        assert optimum.gaps(task, Answer([best[0]], [best[1]]))[0] < 1e-9
        assert optimum.near().all()
        again = Optimum(case, 1, tmp_path / "data", cache=tmp_path)
        assert again.near().all(), "it is kept in a file"
        poor = Answer([best[0] * 1.01], [best[1]])
        true = 1 - objective.value(*best) / objective.value(best[0] * 1.01, best[1])
        assert again.gaps(task, poor)[0] == pytest.approx(true, rel=1e-3)


class TestRegistry:
    def test_every_case_of_the_plan_is_there(self):
        assert {case.group for case in CASES} == {f"R{n}" for n in range(1, 14)} | {"Growth"}
        assert len(BY_ID) == len(CASES)
        targets = {group: {case.target for case in CASES if case.group == group} for group in ("R1", "R4", "R5", "R7")}
        assert targets == {"R1": {1e-8}, "R4": {1e-6, 1e-9}, "R5": {1e-6}, "R7": {1e-5}}
        assert {case.target for case in CASES if case.group in ("R9", "R10", "R11", "R12")} == {1e-4, 1e-5, 1e-3}
        assert {case.C for case in CASES if case.group == "R8"} == {(1,), (100,), (1e4,)}
        assert len(BY_ID["R9-sweep"].C) == 45
        assert (BY_ID["R9-sweep"].C[0], BY_ID["R9-sweep"].C[-1]) == (1e-6, 1e5)
        assert len(BY_ID["R10-letter"].C) == 20
        assert BY_ID["R12-next-word"].memory_gb == 4

    def test_goals(self):
        def limits(case):
            return {(goal.what, goal.against): goal.limit for goal in BY_ID[case].goals}

        assert limits("R1-letter-C1") == {("time", ""): 3, ("certified", ""): 1}
        assert limits("R2-covtype-raw")["time", "sklearn.lbfgs"] == 20
        assert limits("R2-overlapping-free")["time", "statsmodels"] == 10
        assert limits("R7-tagging")["memory ratio", "sklearn"] == 0.5
        assert limits("R9-sweep")["time", "sklearn.warm"] == 4
        assert limits("R11-clinc150")["time", "sklearn.warm saga"] == 20
        assert limits("R12-next-word")["memory", ""] == 2

    def test_kinds_methods_and_data_exist(self):
        for case in CASES:
            assert case.kind in KINDS
            assert case.dataset in datasets.names()
            assert set(case.methods) <= set(METHODS)
        assert {METHODS[name].rival for case in CASES for name in case.methods} == {*environments.PACKAGES, "r"}
        assert set(METHODS) == {name for case in CASES for name in case.methods}, "a method that no case uses"

    def test_the_half_hour_holds(self):
        assert sum(case.seconds for case in select(full=False)) <= run.RUN_SECONDS <= 30 * 60

    def test_a_rival_is_stopped_where_the_goal_is_decided(self):
        assert BY_ID["R1-letter-C1"].stop("sklearn.lbfgs") == 12
        assert BY_ID["R2-covtype"].stop("sklearn.lbfgs") > 20
        assert BY_ID["R2-covtype"].stop("sklearn.newton-cholesky") == 12

    def test_select(self):
        assert [case.id for case in select(["R1"])] == ["R1-letter-C1", "R1-letter-C1000"]
        assert len(select(["R3-shuttle-C1"])) == 1
        assert all(case.id != "R8-apart-C1" for case in select(full=False))
        assert [case.id for case in select(["R8-apart-C1"], full=False)] == ["R8-apart-C1"]
        with pytest.raises(ValueError, match="no case matches"):
            select(["R99"])

    def test_ladders_grow_tighter(self):
        for method in METHODS.values():
            tols = [setting.get("tol", -setting.get("epochs", 0)) for setting in method.ladder]
            assert tols == sorted(tols, reverse=True)
            assert len(tols) > 1

    def test_pytorch_is_exactly_this_one(self):
        assert environments.PACKAGES["torch"][0] == "torch==2.13.0"


class TestData:
    def test_standardised(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((50, 3)) * [1, 1e6, 0] + [0, 5, 7.3]
        Z = standardised(X)
        assert np.allclose(Z[:, :2].mean(axis=0), 0, atol=1e-12)
        assert np.allclose(Z[:, :2].std(axis=0), 1)
        assert np.all(Z[:, 2] == 0)

    def test_folds_are_stratified_and_repeat(self):
        y = np.repeat([0, 1, 2], [50, 10, 5])
        folds = stratified_folds(y)
        assert np.array_equal(folds, stratified_folds(y))
        counts = np.stack([np.bincount(y[folds == fold], minlength=3) for fold in range(5)])
        assert np.array_equal(counts, np.tile([10, 2, 1], (5, 1)))

    def test_embeddings_have_length_one_and_repeat(self):
        first, second = (synthetic.unit_norm_embeddings(200, 6, 5, 2.0, seed=3) for _ in range(2))
        assert np.array_equal(first.X, second.X)
        assert np.allclose(np.linalg.norm(first.X, axis=1), 1)
        assert np.array_equal(np.bincount(first.y), [40] * 5)

    def test_few_shot_batches(self):
        data = synthetic.few_shot(7, 3, 4, 5, seed=1)
        assert data.batches.shape == (7, 12)
        assert all(np.array_equal(np.bincount(data.y[rows]), [3] * 4) for rows in data.batches)

    def test_growth_keeps_its_model(self):
        few, many = (synthetic.overlapping(n, 4, 3, seed=1) for n in (10, 20))
        assert np.array_equal(few.X[0], many.X[0])

    @pytest.mark.parametrize("sparse", [False, True])
    def test_stored_arrays_come_back(self, tmp_path, sparse):
        X, y, K = small_data()
        X = scipy.sparse.csr_matrix(X) if sparse else X
        datasets.store(datasets.Data(X, y, K, folds=y), tmp_path / "x")
        data = datasets.load(tmp_path / "x")
        assert data.sparse == sparse
        assert abs(data.X - X).max() == 0
        assert np.array_equal(data.folds, y)
        assert data.batches is None
        assert datasets.about(tmp_path / "x")["n_classes"] == K

    def test_absent_data_says_why(self, tmp_path, monkeypatch):
        monkeypatch.delenv("SOFTMAX_DATA", raising=False)
        with pytest.raises(datasets.MissingDataError, match="SOFTMAX_DATA is not set"):
            datasets.prepare("letter", cache=tmp_path)
        monkeypatch.setenv("SOFTMAX_DATA", str(tmp_path))
        with pytest.raises(datasets.MissingDataError, match=r"letter\.tsv\.gz is absent"):
            datasets.prepare("letter", cache=tmp_path)

    def test_words_with_neighbours_and_affixes(self, tmp_path, monkeypatch):
        self._write_tokens(tmp_path, monkeypatch)
        data = features.tagging()
        assert data.X.shape[0] == 5
        assert data.n_classes == 3
        # "to": itself, four neighbours that are boundaries or words, and two prefixes and suffixes (three letters give
        # the same two again).
        assert data.X[0].sum() == 5 + 4
        assert data.X[4].sum() == 5 + 2, '"I" has one prefix and one suffix'

    def test_words_that_came_before(self, tmp_path, monkeypatch):
        self._write_tokens(tmp_path, monkeypatch)
        data = features.next_word()
        assert data.X.shape == (5, 3000)
        assert [int(row.sum()) for row in data.X] == [0, 1, 2, 3, 0]
        columns = data.X[3].indices
        assert sorted(columns // 1000) == [0, 1, 2]
        assert data.y[0] == columns[columns >= 2000] - 2000, "the third word before the fourth is the first"

    @staticmethod
    def _write_tokens(folder: Path, monkeypatch):
        rows = ["1\tto\tP\tA", "1\tbe\tV\tB", '1\t"\tX\tC', "1\tor\tC\tA", "2\tI\tP\tB"]
        with gzip.open(folder / "ud_ewt_tokens.tsv.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(["sentence\tword\tupos\txpos", *rows]) + "\n")
        monkeypatch.setenv("SOFTMAX_DATA", str(folder))


class TestTasks:
    def test_problems_of_folds_and_paths(self):
        X, y, K = small_data()
        data = datasets.Data(X, y, K, folds=stratified_folds(y))
        task = task_of(replace(BY_ID["R10-letter"], C=(1.0, 10.0)), data)
        problems = list(task.objectives())
        assert len(problems) == task.count == 10
        assert [p.ridge * len(p.y) for p in problems] == pytest.approx([1.0, 0.1] * 5)
        assert all(len(p.y) + np.sum(data.folds == i // 2) == len(y) for i, p in enumerate(problems))
        for train, test in task.splits():
            assert len(np.intersect1d(train, test)) == 0

    @pytest.mark.parametrize("grouped", [False, True])
    def test_a_lasso_path_begins_where_all_is_zero(self, grouped):
        X, y, K = small_data()
        largest = largest_lasso(X, y, K, grouped=grouped)
        frequency = np.log(np.bincount(y) / len(y))
        for times, zero in ((1.0, True), (0.95, False)):
            objective = Objective(X, y, K, 0.0, times * largest, grouped)
            gap = relative_gap(
                objective.value(np.zeros((K, 3)), frequency), lower_bound(objective, np.zeros((K, 3)), frequency)
            )
            assert (gap < 1e-12) == zero

    def test_the_warm_up_has_all_classes_and_a_penalty(self):
        X, y, K = small_data()
        wide = np.tile(X, (1, 3000))
        task = warm_up_of(Task("fit", wide, y, K, (math.inf,)))
        assert np.array_equal(np.bincount(task.y), np.minimum(np.bincount(y), 4))
        assert task.C == (1.0,)
        assert len(warm_up_of(Task("fit", X, y, K, (1.0,))).y) == len(y)
        folds = warm_up_of(Task("cv", X, y, K, (1.0, 2.0, 3.0), folds=stratified_folds(y)))
        assert folds.count == 4
        rng = np.random.default_rng(0)
        many = warm_up_of(Task("fit", rng.standard_normal((3000, 2)), np.arange(3000) % 1000, 1000, (1.0,)))
        assert many.n_classes == many.y.max() + 1 == 200
        long = warm_up_of(Task("fit", rng.standard_normal((100_000, 2)), np.arange(100_000) // 99_998, 2, (1.0,)))
        assert 12_000 <= len(long.y) < 24_000 and np.bincount(long.y)[1] == 2


class TestSearch:
    METHOD = METHODS["sklearn.lbfgs"]

    def climb(self, monkeypatch, gap_of, *, method=METHOD, count=1, target=1e-8):
        seen = []

        def measured(case, task, method, settings, optimum, **options):
            seen.append([setting["tol"] for setting in settings])
            tols = seen[-1] * (count if len(settings) == 1 else 1)
            return measure.Measurement("ok", [1.0], gaps=[gap_of(p, tol) for p, tol in enumerate(tols)])

        monkeypatch.setattr(search, "measured", measured)
        X, y, K = small_data()
        task = Task("path", X, y, K, tuple(10.0**k for k in range(count)))
        case = replace(BY_ID["R9-sweep"], target=target)
        return search.search(case, task, method, None, limit=1.0, threads=1), seen

    def test_takes_the_loosest_that_reaches_the_target(self, monkeypatch):
        found, seen = self.climb(monkeypatch, lambda p, tol: 1e4 * tol**2)
        assert found["status"] == "reached"
        assert found["settings"] == [{"tol": 1e-6}]
        assert len(seen) == 2, "two decades are missing, half of them from the tolerance"

    def test_says_where_the_ladder_ends(self, monkeypatch):
        found, _ = self.climb(monkeypatch, lambda p, tol: max(1e-7, tol))
        assert found["status"] == "missed"
        assert found["settings"] == [{"tol": 1e-12}]
        assert found["gap"] == 1e-7

    def test_each_point_of_a_loop_has_its_own(self, monkeypatch):
        method = METHODS["sklearn.cold lbfgs"]
        found, _ = self.climb(monkeypatch, lambda p, tol: tol * 10**p, method=method, count=3, target=1e-5)
        assert [setting["tol"] for setting in found["settings"]] == [1e-5, 1e-6, 1e-7]

    def test_a_stopped_rival_ends_the_search(self, monkeypatch):
        monkeypatch.setattr(search, "measured", lambda *args, **options: measure.Measurement("stopped", limit=1.0))
        task = Task("fit", *small_data(), (1.0,))
        found = search.search(BY_ID["R1-letter-C1"], task, self.METHOD, None, limit=1.0, threads=1)
        assert found["status"] == "stopped"
        assert found["limit"] == 1.0

    def test_settings_come_back(self, tmp_path):
        settings = {"R1": {"sklearn.lbfgs": {"status": "reached", "settings": [{"tol": 1e-6}]}}, "R2": {}}
        search.write_settings(settings, tmp_path / "settings.json")
        assert search.read_settings(tmp_path / "settings.json") == settings

    def test_committed_settings_name_cases_and_methods(self):
        for case, methods in search.read_settings().items():
            assert case in BY_ID
            assert set(methods) <= set(BY_ID[case].methods)
            for name, found in methods.items():
                assert all(setting in METHODS[name].ladder for setting in found["settings"])


class TestMeasure:
    def test_ours_in_a_worker(self, tmp_path):
        case = replace(BY_ID["R13-iris"], calls=1)
        task = task_of(case, datasets.load(datasets.prepare("iris")))
        settings = [{"tol": case.target}]
        found = measure.run_worker(case, "softmax", "auto", settings, folder=tmp_path, limit=300, threads=2)
        assert found.status == "ok", found.reason
        assert found.claims["status"] == ["certified"]
        assert found.peak_bytes > 2e7
        measure.judge(found, measure.answer_of(tmp_path, task), task, Optimum(case, 1))
        assert max(found.gaps) <= case.target
        assert json.loads(json.dumps(found.line()))["claims"]["status"] == "certified"

    def test_too_much_memory_is_noticed(self, tmp_path):
        case = replace(BY_ID["R13-iris"], memory_gb=0.001)
        found = measure.run_worker(case, "softmax", "auto", [{"tol": 1e-3}], folder=tmp_path, limit=60, threads=1)
        assert found.status == "oom"

    def test_an_absent_rival_is_skipped_with_the_reason(self, tmp_path, monkeypatch):
        monkeypatch.setattr(environments, "RIVAL_ENVIRONMENTS", tmp_path)
        found = measure.run_worker(BY_ID["R13-iris"], "cyanure", "auto", [], folder=tmp_path, limit=1, threads=1)
        assert found.status == "skipped"
        assert "not installed" in found.reason

    def test_absent_r_is_named(self, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda name: None)
        environments.r_reason.cache_clear()
        assert "Rscript" in environments.missing("r", "glmnet grouped")
        environments.r_reason.cache_clear()

    def test_a_case_without_data_is_skipped_with_the_reason(self, monkeypatch):
        def absent(name, **options):
            raise datasets.MissingDataError("SOFTMAX_DATA is not set")

        monkeypatch.setattr(datasets, "prepare", absent)
        record = run.run_case(BY_ID["R1-letter-C1"], run.Bench())
        assert record["ours"] == {"status": "skipped", "reason": "SOFTMAX_DATA is not set"}

    def test_a_case_after_the_end_is_skipped(self):
        record = run.run_case(BY_ID["R13-iris"], run.Bench(ends=0.0))
        assert "used up" in record["ours"]["reason"]

    def test_a_run_is_resumed_where_its_time_was_used_up(self, tmp_path):
        versions = {"versions": run.versions(), "rival_versions": run._rival_versions()}
        cases = [
            {"id": "R13-iris", "ours": {"status": "ok"}},
            {"id": "R13-wine", "ours": {"status": "skipped", "reason": "the time of the run was used up"}},
        ]
        path = tmp_path / "results.json"
        with pytest.raises(SystemExit, match="nothing to resume"):
            run._kept(path, False, set())
        path.write_text(json.dumps({**versions, "cases": cases}), encoding="utf-8")
        assert list(run._kept(path, False, {"R13-iris", "R13-wine"})) == ["R13-iris"]
        assert list(run._kept(path, True, {"R13-iris"})) == ["R13-wine"]
        path.write_text(json.dumps({**versions, "versions": {"numpy": "0"}, "cases": cases}), encoding="utf-8")
        with pytest.raises(SystemExit, match="versions are not those"):
            run._kept(path, False, set())

    def test_the_fastest_comes_first_and_the_hopeless_last(self):
        case = BY_ID["R1-letter-C1"]
        known = {
            "sklearn.saga": {"status": "stopped"},
            "sklearn.lbfgs": {"status": "reached", "seconds": 3.0},
            "sklearn.newton-cg": {"status": "reached", "seconds": 1.0},
            "cyanure.auto": {"status": "missed"},
        }
        place = run.Place(case, None, None, math.inf)
        order = [method.id for method, _ in run._in_order(place, run.Bench(settings={case.id: known}))]
        assert order[:2] == ["sklearn.newton-cg", "sklearn.lbfgs"]
        assert order[-2:] == ["sklearn.saga", "cyanure.auto"]


def timed(seconds, gap=1e-9, **rest):
    return {"status": "ok", "seconds": [seconds], "median_s": seconds, "min_s": seconds, "gap": gap} | rest


def result_of(*records):
    versions = {"softmax": "1", "numpy": "2", "scipy": "1", "numba": "0"}
    texts = dict.fromkeys(("cpu", "cpu_family", "cpu_model", "instruction_set", "system", "python"), "x")
    machine = texts | {"cores": 2, "load_average": 0.0}
    return {"date": "2026-01-01", "machine": machine, "versions": versions, "rival_versions": {"r": {"glmnet": "4"}},
            "threads": 2, "full": False, "seconds": 60, "cases": list(records)}  # fmt: skip


def record_of(case, ours, *rivals):
    return {"id": case, "target": BY_ID[case].target, "ours": ours, "rivals": list(rivals), "seconds": 1.0}


OURS = timed(1.0, claims={"status": "certified", "gap": 1e-9}, peak_bytes=10**9)


def verdicts(record, *others):
    return {o.text: o for o in goals.outcomes([record, *others]) if o.case == record["id"]}


class TestGoals:
    def test_the_fastest_rival_counts(self):
        record = record_of(
            "R1-letter-C1", OURS, {"method": "sklearn.lbfgs"} | timed(9.0), {"method": "cyanure.auto"} | timed(2.5)
        )
        outcome = verdicts(record)["≥ 3× the best rival"]
        assert outcome.met is False
        assert outcome.measured == "2.5× (cyanure.auto)"

    def test_a_rival_that_misses_the_gap_does_not_count(self):
        wrong = {"method": "cyanure.auto"} | timed(0.1, gap=1e-6)
        record = record_of("R1-letter-C1", OURS, {"method": "sklearn.lbfgs"} | timed(9.0), wrong)
        assert verdicts(record)["≥ 3× the best rival"].met is True
        assert goals.ratio_of(wrong, record).value == math.inf

    def test_stopped_rivals_are_lower_bounds(self):
        stopped = {"method": "sklearn.lbfgs", "status": "stopped", "limit": 12.0}
        record = record_of("R1-letter-C1", OURS, stopped)
        outcome = verdicts(record)["≥ 3× the best rival"]
        assert outcome.met is True
        assert outcome.measured == "> 12 (sklearn.lbfgs)"
        early = record_of("R1-letter-C1", OURS, stopped | {"limit": 2.0})
        assert verdicts(early)["≥ 3× the best rival"].met is None, "stopped before it was decided"

    def test_ours_outside_the_target_misses_everything(self):
        record = record_of("R1-letter-C1", OURS | {"gap": 1e-6}, {"method": "sklearn.lbfgs"} | timed(9.0))
        assert all(outcome.met is False for outcome in verdicts(record).values())
        assert goals.overall([record])[-1].met is False

    def test_what_is_not_there_yet_is_not_measured(self):
        record = record_of("R9-sweep", {"status": "not there yet", "reason": "softmax_path"})
        assert all(outcome.met is None for outcome in verdicts(record).values())
        assert "not there yet" in report.main_table(result_of(record))

    def test_a_status_other_than_certified_misses(self):
        record = record_of("R1-letter-C1", OURS | {"claims": {"status": "not converged"}})
        assert verdicts(record)["certified, no failure"].met is False

    def test_memory(self):
        rivals = [{"method": "sklearn.lbfgs"} | timed(9.0, peak_bytes=3 * 10**9)]
        ours = OURS | {"gap": 1e-6}
        assert verdicts(record_of("R7-tagging", ours, *rivals))["≤ 0.5 of the memory of sklearn"].met is True
        heavy = ours | {"peak_bytes": 16 * 10**8}
        assert verdicts(record_of("R7-tagging", heavy, *rivals))["≤ 0.5 of the memory of sklearn"].met is False
        assert verdicts(record_of("R12-next-word", OURS))["finishes in ≤ 2 GB"].met is True
        too_large = OURS | {"peak_bytes": 21 * 10**8}
        assert verdicts(record_of("R12-next-word", too_large))["finishes in ≤ 2 GB"].met is False

    def test_the_separation_verdict_needs_the_direction(self):
        def verdict(status, gap):
            ours = timed(1.0, gap=gap, claims={"status": status})
            return verdicts(record_of("R2-covtype-separated", ours))["separation found, its direction right"].met

        assert verdict("separated", 0.0) is True
        assert verdict("separated", None) is False
        assert verdict("estimated", 0.0) is False

    def test_growth(self):
        sizes = [12_500, 25_000, 50_000, 100_000, 200_000]
        linear = [record_of(f"Growth-{n}", timed(n * 1e-6)) for n in sizes]
        square = [record_of(f"Growth-{n}", timed(n * n * 1e-12)) for n in sizes]
        assert [o.met for o in goals.outcomes(linear)] == [True]
        assert [o.met for o in goals.outcomes(square)] == [False]
        assert [o.met for o in goals.outcomes(linear[-1:])] == [None]

    def test_over_all(self):
        first = record_of("R1-letter-C1", OURS, {"method": "sklearn.lbfgs"} | timed(8.0))
        second = record_of("R3-shuttle-C1", OURS, {"method": "sklearn.lbfgs"} | timed(0.5))
        mean, least, certified = goals.overall([first, second])
        assert mean.measured.startswith("2.00×")
        assert mean.met is False
        assert least.measured.startswith("0.5×")
        assert least.met is False
        assert certified.met is True
        assert certified.measured == "2 of 2 measured"


class TestReport:
    RESULTS = result_of(
        record_of("R1-letter-C1", OURS, {"method": "sklearn.lbfgs", "settings": [{"tol": 1e-6}]} | timed(8.0),
                  {"method": "cyanure.auto", "status": "missed", "gap": 2e-6},
                  {"method": "sklearn.saga", "status": "stopped", "limit": 12.0}),
        record_of("R9-sweep", OURS,
                  {"method": "sklearn.cold lbfgs", "settings": [{"tol": 1e-4}, {"tol": 1e-6}]} | timed(20.0)),
        record_of("R11-wide", {"status": "not there yet", "reason": "softmax_path"},
                  {"method": "r.glmnet", "status": "skipped", "reason": "R has no glmnet | really"}),
        record_of("R12-next-word", {"status": "skipped", "reason": "SOFTMAX_DATA is not set"}),
    )  # fmt: skip

    def test_page(self):
        text = report.page(self.RESULTS)
        assert "sklearn.lbfgs 8 s (8×)" in text
        assert "≥ 3× the best rival: 8× (sklearn.lbfgs): met" in text
        assert "| R1-letter-C1 | sklearn.saga | stopped | – | – | 0 | > 12 |" in text
        assert "tol=1e-06 to 0.0001, each its own" in text
        assert "SOFTMAX_DATA is not set" in text
        widths = {}
        for line in text.splitlines():
            if line.startswith("|"):
                widths.setdefault(line.count("|"), []).append(line)
        assert set(widths) == {5, 10, 12}, "each line of a table has as many cells as its head"

    def test_units(self):
        assert [report.seconds(value) for value in (2e-6, 3e-3, 1.5, 321.0, None)] == [
            "2 µs",
            "3 ms",
            "1.5 s",
            "321 s",
            "–",
        ]
        assert report.gap(None) == "–"
        assert report.gap(-1e-17) == "0"
        assert report.gigabytes(1_500_000_000) == "1.50"

    def test_plot_repeats(self, tmp_path):
        pytest.importorskip("matplotlib")
        assert plot.bars(self.RESULTS) == [("R1-letter-C1", 8.0, False, 3), ("R9-sweep", 20.0, False, None)]
        for name in ("a", "b"):
            plot.write(self.RESULTS, tmp_path / f"{name}.svg")
        text = (tmp_path / "a.svg").read_text(encoding="utf-8")
        assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
        assert "R1-letter-C1" in text

    def test_write_reads_the_file_alone(self, tmp_path):
        pytest.importorskip("matplotlib")
        path = tmp_path / "regression.json"
        run.dump(self.RESULTS, path)
        report.write(path, tmp_path / "page.md", tmp_path / "plot.svg")
        assert (tmp_path / "page.md").read_text(encoding="utf-8") == report.page(
            json.loads(path.read_text(encoding="utf-8"))
        )
