"""From a table to a fitted model of its rows, and to figures that can be trusted.

`fit_table` holds rows out, fits on the others, scores, and fits again on all rows. `search_table` cross-validates the
penalty on all rows. What they return says which rows each figure is about.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from . import tables
from ._errors import DataError, NotCertifiedWarning, OptionError
from ._evaluation import Scores, evaluate
from ._table_model import TableModel
from ._verdict import separation_verdict

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_EPOCHS = 200
ENOUGH_TO_STOP = 200  # rows from which on a network holds a tenth out to know when to stop


@dataclass(frozen=True)
class Step:
    """What is being done, in words, and where the solver is; before its first iteration `objective` is nan.

    `share`: how much of the stage is done, from 0 to 1, where that is known; `detail` what comes and goes within it.
    """

    stage: str
    passes: float = 0.0
    objective: float = float("nan")
    gap: float = float("inf")
    share: float | None = None
    detail: str = ""


Progress = Callable[[Step], None]


@dataclass(frozen=True)
class FitSettings:
    """What the user chose for a fit; the fields are the options of ``softmax fit``.

    `sample_weight` names a column. `drop`, `categorical` and `numeric` hold names of columns. `calibrate`: whether a
    temperature is fitted to rows held out.

    With `hidden` widths a network is fitted, its L2 penalty of strength 1/C; `max_iter` then counts epochs, and `tol`
    and what is about L1, solvers, the intercept and threads has no meaning. The fields after it are for networks alone.
    """

    target: str
    C: float = 1.0
    l1_ratio: float = 0.0
    grouped: bool = False
    solver: str = "auto"
    tol: float = 1e-6
    max_iter: int | None = None
    fit_intercept: bool = True
    class_weight: str | None = None
    sample_weight: str | None = None
    missing: str = "error"
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    seed: int = 0
    test_size: float = 0.2
    refit: bool = True
    calibrate: bool = False
    n_threads: int | None = None
    hidden: tuple[int, ...] | None = None
    activation: str = "relu"
    learning_rate: float = 0.001
    batch_size: int | str = "auto"
    device: str = "auto"

    def parameters(self) -> dict[str, Any]:
        """The options that the estimators of the regression share."""
        names = ("l1_ratio", "grouped", "solver", "tol", "max_iter", "fit_intercept", "class_weight", "n_threads")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class SearchSettings:
    """What the user chose for a search; `Cs` are values, or how many."""

    Cs: int | tuple[float, ...] = 10
    folds: int = 5
    scoring: str = "neg_log_loss"
    one_standard_error: bool = False
    l1_ratios: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Certificate:
    """How near a fit is to its optimum. `objective` and `gap` in nats per unit of weight; `passes` over the data.

    Of a network `gap` and `grad_norm` are nan: nothing is known of the distance.
    """

    rows: int
    status: str
    objective: float
    gap: float
    grad_norm: float
    iterations: int
    passes: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model with what it was fitted on: features, class codes and weights or None; and why there are doubts."""

    model: TableModel
    certificate: Certificate
    X: Floats
    codes: Ints
    weights: Floats | None
    notes: list[str]
    verdict: str | None = None


@dataclass
class FitReport:
    """What `fit_table` did. `scores` are about `held_out_rows` that `scored` was not fitted on; None without any.

    `last` is the fit that is saved. `predicted`: class codes and log-probabilities of the rows that were scored, at
    `temperature`.
    """

    last: Fitted
    scored: Certificate | None
    scores: Scores | None
    train_rows: int
    held_out_rows: int
    class_sizes: dict[str, int]
    notes: list[str] = field(default_factory=list)
    predicted: tuple[Ints, Floats] | None = None
    temperature: float = 1.0
    interrupted: bool = False

    @property
    def model(self) -> TableModel:
        """The model that is saved."""
        return self.last.model

    @property
    def saved(self) -> Certificate:
        """Its certificate."""
        return self.last.certificate


@dataclass(frozen=True, eq=False)
class Rows:
    """The usable rows of a table: their positions, the labels, a code per row of the table, weights or None."""

    table: tables.Table
    settings: FitSettings
    plan: tables.FeaturePlan
    rows: Ints
    labels: tables.Labels
    codes: Ints
    weights: Floats | None
    counts: Ints
    notes: list[str]

    @property
    def class_sizes(self) -> dict[str, int]:
        """Rows of each class, by name."""
        return dict(zip(self.labels.names, self.counts.tolist(), strict=True))


def fit_table(
    table: tables.Table,
    settings: FitSettings,
    *,
    test: tables.Table | None = None,
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> FitReport:
    """Fit a model to a table and score it on rows that it has not seen.

    Parameters
    ----------
    table
        The rows to learn from.
    settings
        What to predict, and how. Without `test`, a share `test_size` of the rows is held out, classes in proportion;
        with `refit` the returned model is then fitted again on all rows.
    test
        Rows to score on instead; no model is fitted on them.
    progress
        Called after each iteration of the solver.
    interrupted
        Whether the user asked to stop: what was reached so far is scored and returned, and nothing new begun.

    Returns
    -------
    FitReport

    Raises
    ------
    DataError
        If a column cannot be used; the message says what to do.
    """
    say = progress or _silent
    usable = usable_rows(table, settings)
    train, held_out = usable.rows, usable.rows[:0]
    if test is None and settings.test_size:
        inner, outer = tables.stratified_split(usable.codes[usable.rows], settings.test_size, settings.seed)
        train, held_out = usable.rows[inner], usable.rows[outer]
    unit = "training row" if len(held_out) or test else "row"
    last = _fit_rows(usable, train, unit, progress, interrupted)
    report = FitReport(last, None, None, len(train), len(held_out), usable.class_sizes, list(usable.notes))
    report.temperature = float(last.model.classifier.temperature_)
    if test is not None:
        say(Step(f"scoring {test.source}"))
        report.scored, report.held_out_rows = last.certificate, test.n_rows
        report.scores, report.predicted, test_notes = last.model.scored(test)
        report.notes += [f"{test.source}: {note}" for note in test_notes]
    elif len(held_out):
        say(Step(f"scoring {tables.plural(len(held_out), 'held-out row')}"))
        report.scored = last.certificate
        prediction = last.model.predict_rows(table, held_out)
        report.predicted = usable.codes[prediction.rows], prediction.log_proba
        report.scores = evaluate(*report.predicted, last.model.class_counts.astype(float))
        report.notes += [f"held-out rows: {note}" for note in prediction.notes if "not seen" in note]
        if settings.refit and not interrupted():
            report.last = _fit_rows(usable, usable.rows, "row", progress, interrupted)
    report.interrupted = interrupted()
    report.notes += report.last.notes
    report.model.record = _record(report, table, settings, test)
    return report


def search_table(
    table: tables.Table,
    settings: FitSettings,
    search: SearchSettings,
    *,
    progress: Progress | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> FitReport:
    """Choose the penalty by cross-validation on all rows of a table; the model is the fit to all rows at the choice.

    Columns are encoded once, from all rows: means and scales, which use no labels, see the rows of every fold. Where
    the user asks to stop, the best value so far is taken, and rows that are not scored yet remain so.

    Raises
    ------
    DataError, OptionError
        If a column cannot be used, or the folds do not fit the rows.
    KeyboardInterrupt
        If the user asks to stop before there is any score.
    """
    from .regression import SoftmaxRegressionCV

    usable = usable_rows(table, settings)
    ratios = search.l1_ratios
    classifier = SoftmaxRegressionCV(
        search.Cs if isinstance(search.Cs, int) else np.array(search.Cs),
        cv=search.folds,
        scoring=search.scoring,
        one_standard_error=search.one_standard_error,
        random_state=settings.seed,
        **settings.parameters() | {"l1_ratio": ratios[0] if len(ratios) == 1 else np.array(ratios)},
    )
    n_values = (search.Cs if isinstance(search.Cs, int) else len(search.Cs)) * len(ratios)
    stage = f"cross-validating {tables.plural(n_values, 'value')} in {tables.plural(search.folds, 'fold')}"
    say = progress or _silent
    say(Step(stage, share=0.0))

    def tell(done: int, total: int, words: str) -> None:
        if interrupted() and done < total:
            raise KeyboardInterrupt
        if interrupted():
            say(Step("interrupted: fitting the best so far to all rows, until Ctrl-C comes again"))
        else:
            say(Step("cross-validating", share=done / total, detail=f"{done} of {total} fits ({words})"))

    classifier._progress = tell
    last = _fit_rows(usable, usable.rows, "row", None, lambda: False, classifier)
    n = len(usable.rows)
    report = FitReport(last, None, None, n, n, usable.class_sizes, usable.notes + last.notes)
    log_proba = None if interrupted() else _out_of_fold(last, settings, search.folds, say, interrupted)
    if log_proba is not None:
        report.predicted = last.codes, log_proba
        report.scores = evaluate(*report.predicted, last.model.class_counts.astype(float))
    report.interrupted = interrupted()
    report.model.record = _record(report, table, settings, None) | {"search": asdict(search)}
    return report


def _out_of_fold(
    fitted: Fitted, settings: FitSettings, folds: int, say: Progress, interrupted: Callable[[], bool]
) -> Floats | None:
    """Log-probabilities (n, K) of each row at the chosen penalty, by the fit to the folds that it is not in.

    A class that a fit has not seen has probability 0 there. None where the user asks to stop.
    """
    from sklearn.model_selection import StratifiedKFold

    from .regression import SoftmaxRegression

    chosen = fitted.model.classifier
    options = settings.parameters() | {"l1_ratio": chosen.l1_ratio_}
    log_proba = np.full((len(fitted.codes), len(chosen.classes_)), -np.inf)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=settings.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotCertifiedWarning)  # the search has said it
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for done, (train, test) in enumerate(splitter.split(fitted.X, fitted.codes)):
            say(Step("scoring each row by a fit to the other folds", share=done / folds))
            weights = None if fitted.weights is None else fitted.weights[train]
            try:
                fold = SoftmaxRegression(chosen.C_, **options).fit(fitted.X[train], fitted.codes[train], weights)
            except KeyboardInterrupt:
                return None
            if interrupted():
                return None
            log_proba[np.ix_(test, fold.classes_)] = fold.predict_log_proba(fitted.X[test])
    return log_proba


def inference_of(fitted: Fitted) -> Any:
    """Standard errors of an unpenalised fit, under the names of its columns and classes.

    The columns of a category sum to 1, as the intercept does, so that their coefficients are not determined: the first
    category of each column is left out of an equal fit, and the others are compared with it.

    Raises
    ------
    OptionError
        If classes are separated, or columns are combinations of others.
    """
    from .regression import SoftmaxRegression
    from .regression._inference import infer

    model = fitted.model
    classifier = model.classifier
    kept: list[int] = []
    place = 0
    for feature in model.encoder.features:
        first = place + (feature.kind != "number" and classifier.fit_intercept)
        place += len(feature.outputs)
        kept += range(first, place)
    X, weights = np.take(fitted.X, kept, axis=1), fitted.weights
    if len(kept) < fitted.X.shape[1]:
        parameters = classifier.get_params(deep=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotCertifiedWarning)  # the first fit has said it
            classifier = SoftmaxRegression(**parameters).fit(X, fitted.codes, weights)
    result = infer(
        classifier, X, fitted.codes, sample_weight=weights, covariance="classical" if weights is None else "robust"
    )
    names = [model.encoder.feature_names[j] for j in kept]
    result.feature_names = ["intercept", *names] if result.intercept else names
    result.classes, result.reference = np.array(model.labels.names, dtype=object), model.labels.names[0]
    return result


def usable_rows(table: tables.Table, settings: FitSettings) -> Rows:
    """Plan the columns, learn the labels, and leave out the rows that cannot be used."""
    notes: list[str] = []
    labels, codes = tables.Labels.learn(
        table,
        settings.target,
        drop_missing=settings.missing == "drop",
        categorical=settings.target in settings.categorical,
    )
    plan = _plan(table, settings)
    notes += plan.notes
    weights = _weights(table, settings.sample_weight)
    rows, labels, codes = _usable(table, plan, labels, codes, weights, settings, notes)
    counts = np.bincount(codes[rows], minlength=len(labels.values))
    if note := labels.note(counts, settings.target):
        notes.append(note)
    return Rows(table, settings, plan, rows, labels, codes, weights, counts, notes)


def _fit_rows(
    usable: Rows,
    chosen: Ints,
    unit: str,
    progress: Progress | None,
    interrupted: Callable[[], bool],
    classifier: Any = None,
) -> Fitted:
    """Encode some rows and fit to them."""
    settings, labels = usable.settings, usable.labels
    encoder = tables.TableEncoder(settings.missing).fit(usable.table, usable.plan, chosen)
    encoded = encoder.transform(usable.table, chosen)
    codes = usable.codes[chosen]
    weights = None if usable.weights is None else usable.weights[chosen]
    if classifier is None:
        make = _classifier if settings.hidden is None else _network
        classifier = make(settings, Step(f"fitting on {tables.plural(len(chosen), unit)}"), len(chosen), progress)
    notes = list(encoded.notes)
    start = perf_counter()
    with _doubts(notes):
        classifier.fit(encoded.X, codes, weights)
    vars(classifier).pop("_progress", None)
    verdict = None
    if classifier.status_ == "separated":
        notes = [note for note in notes if "no finite optimum exists" not in note]
        verdict = _verdict(classifier, encoded.X, codes, labels.names, encoder.feature_names)
        notes.append(f"{verdict}; pass a finite -C, such as 1e4, or leave columns out")
    elif settings.calibrate and not interrupted():
        if progress is not None:
            progress(Step("calibrating on rows held out"))
        notes += _calibrate(classifier, encoded.X, codes, weights)
    certificate = _certificate(classifier, len(chosen), perf_counter() - start)
    sizes = np.bincount(codes, minlength=len(labels.values))
    model = TableModel(encoder, labels, classifier, settings.target, sizes, {})
    return Fitted(model, certificate, encoded.X, codes, weights, notes, verdict)


def _calibrate(classifier: Any, X: Floats, codes: Ints, weights: Floats | None) -> list[str]:
    """Fit the temperature, and say where there is none, or a fold was not certified."""
    from .regression._calibration import calibrate

    notes: list[str] = []
    with _doubts(notes):
        try:
            calibrate(classifier, X, codes, sample_weight=weights)
        except OptionError as error:
            notes.append(f"not calibrated: {str(error).rstrip('.')}")
    return notes


def _verdict(classifier: Any, X: Floats, codes: Ints, classes: list[str], features: list[str]) -> str:
    """Which classes are separated by which features, in words."""
    direction = classifier.separating_direction_
    if direction is None:
        return "no finite optimum exists"
    return f"no finite optimum exists: {separation_verdict(direction, X, codes).words(classes, features)}"


def _plan(table: tables.Table, settings: FitSettings) -> tables.FeaturePlan:
    for name in settings.drop:
        table.require(name, "the column to drop")
    if settings.target in settings.drop:
        raise DataError(f"the target {settings.target!r} cannot be dropped.")
    aside = {settings.target, *settings.drop}
    if settings.sample_weight is not None:
        aside.add(settings.sample_weight)
    return tables.plan_features(
        table,
        leave_out=aside,
        categorical=[name for name in settings.categorical if name != settings.target],
        numeric=settings.numeric,
        missing=settings.missing,
    )


def _weights(table: tables.Table, name: str | None) -> Floats | None:
    if name is None:
        return None
    table.require(name, "the sample weight")
    weights = table.numbers(name)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        value = "missing" if np.isnan(weights[bad[0]]) else f"{weights[bad[0]]:g}"
        raise DataError(f"sample weights must be finite and not negative; {name!r} is {value} in row {bad[0] + 1}.")
    return weights


def _usable(
    table: tables.Table,
    plan: tables.FeaturePlan,
    labels: tables.Labels,
    codes: Ints,
    weights: Floats | None,
    settings: FitSettings,
    notes: list[str],
) -> tuple[Ints, tables.Labels, Ints]:
    """Return the rows to learn from, and labels and codes without the classes that lost their last row."""
    rows = np.flatnonzero(codes != tables.MISSING)
    if len(rows) < table.n_rows:
        missing = tables.plural(table.n_rows - len(rows), "row")
        notes.append(f"left out {missing} without a value of the target {settings.target!r}")
    kept = [("with missing values", tables.complete_rows(table, plan))] if settings.missing == "drop" else []
    if weights is not None:
        kept.append(("of weight 0", weights > 0))
    for why, mask in kept:
        if not np.all(mask[rows]):
            notes.append(f"left out {tables.plural(int(np.sum(~mask[rows])), 'row')} {why}")
        rows = rows[mask[rows]]
    return rows, *labels.restricted(codes, rows, settings.target, notes)


def _network(settings: FitSettings, step: Step, rows: int, progress: Progress | None) -> Any:
    """A network that stops by rows held out of its own, where there are enough."""
    from .nn import NeuralSoftmaxClassifier

    epochs = settings.max_iter or MOST_EPOCHS
    classifier = NeuralSoftmaxClassifier(
        settings.hidden or (),
        activation=settings.activation,
        alpha=1.0 / settings.C,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        max_epochs=epochs,
        early_stopping=rows >= ENOUGH_TO_STOP,
        class_weight=settings.class_weight,
        device=settings.device,
        random_state=settings.seed,
    )
    if progress is not None:
        progress(step)

        def report(epoch: int, passes: float, objective: float, gap: float) -> None:
            if epoch:
                detail = f"epoch {epoch} of at most {epochs}, objective {objective:.6g}"
                progress(Step(step.stage, passes, objective, share=epoch / epochs, detail=detail))

        classifier._progress = report
    return classifier


def _classifier(settings: FitSettings, step: Step, rows: int, progress: Progress | None) -> Any:
    from .regression import SoftmaxRegression

    classifier = SoftmaxRegression(settings.C, **settings.parameters())
    if progress is not None:
        progress(step)

        def report(iteration: int, passes: float, objective: float, gap: float) -> None:
            progress(Step(step.stage, passes, objective, gap))

        classifier._progress = report
    return classifier


@contextmanager
def _doubts(notes: list[str]) -> Iterator[None]:
    """Take what a fit says about its certificate as notes; give other warnings again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NotCertifiedWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, NotCertifiedWarning):
            notes.append(str(warning.message).rstrip("."))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _silent(step: Step) -> None:
    """Nobody is told."""


def _certificate(classifier: Any, rows: int, seconds: float) -> Certificate:
    return Certificate(
        rows=rows,
        status=str(classifier.status_),
        objective=float(classifier.objective_),
        gap=float(getattr(classifier, "gap_", np.nan)),
        grad_norm=float(getattr(classifier, "grad_norm_", np.nan)),
        iterations=int(np.max(classifier.n_iter_)),
        passes=float(getattr(classifier, "n_passes_", classifier.n_iter_)),
        seconds=seconds,
    )


def _record(report: FitReport, table: tables.Table, settings: FitSettings, test: tables.Table | None) -> dict[str, Any]:
    """Say how the model came about, as JSON can hold it; without times, so that equal fits give equal files."""
    import sklearn

    from . import __version__

    def lasting(certificate: Certificate | None) -> dict[str, Any] | None:
        if certificate is None:
            return None
        return {key: value for key, value in asdict(certificate).items() if key != "seconds"}

    return {
        "data": table.source,
        "test_data": None if test is None else test.source,
        "settings": asdict(settings),
        "train_rows": report.train_rows,
        "held_out_rows": report.held_out_rows,
        "class_sizes": report.class_sizes,
        "held_out": None if report.scores is None else report.scores.summary(),
        "certificate": lasting(report.saved),
        "held_out_certificate": lasting(report.scored),
        "versions": {
            "softmax": __version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
    }
