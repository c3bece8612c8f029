"""A classifier of table rows: the encoding of the columns, the regression, the names of the classes, in one object.

`fit_table` goes from a table to such a model and to figures that can be trusted: it holds rows out, fits on the others,
scores, and fits again on all rows. What it returns says which rows each figure is about.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from . import tables
from ._errors import DataError, ModelFileError, NotCertifiedWarning
from ._evaluation import Scores, evaluate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """What is being done, in words, and where the solver is; before its first iteration `objective` is nan."""

    stage: str
    passes: float = 0.0
    objective: float = float("nan")
    gap: float = float("inf")


Progress = Callable[[Step], None]


@dataclass(frozen=True)
class FitSettings:
    """What the user chose for a fit; the fields are the options of ``softmax fit``.

    `sample_weight` names a column. `drop`, `categorical` and `numeric` hold names of columns.
    """

    target: str
    C: float = 1.0
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


@dataclass(frozen=True)
class Certificate:
    """How near a fit is to its optimum. `objective` and `gap` in nats per unit of weight; `passes` over the data."""

    rows: int
    status: str
    objective: float
    gap: float
    grad_norm: float
    iterations: int
    passes: float
    seconds: float


@dataclass
class FitReport:
    """What `fit_table` did. `scores` are about `held_out_rows` that `scored` was not fitted on; None without any."""

    model: TableModel
    saved: Certificate
    scored: Certificate | None
    scores: Scores | None
    train_rows: int
    held_out_rows: int
    class_sizes: dict[str, int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Prediction:
    """Log-probabilities `(m, K)` of the `rows (m,)` of a table that could be encoded, and notes for the user."""

    rows: Ints
    log_proba: Floats
    notes: list[str]


class TableModel:
    """A fitted classifier that takes tables: files read with `read_table`, pandas, polars or Arrow frames.

    `fit_table` and `softmax.load` make such objects. Rows with a missing value, where the model leaves them out, get
    the label None and probabilities nan.

    Attributes
    ----------
    encoder, labels, classifier
        How columns become features, how labels become codes 0 … K−1, and the `SoftmaxRegression` between the two.
    target
        Name of the column that is predicted.
    class_counts
        Rows per class of the fit, `(K,)`.
    record
        The settings, the split, the scores, the certificates and the versions, as JSON can hold them.
    """

    def __init__(
        self,
        encoder: tables.TableEncoder,
        labels: tables.Labels,
        classifier: Any,
        target: str,
        class_counts: Ints,
        record: dict[str, Any],
    ) -> None:
        self.encoder = encoder
        self.labels = labels
        self.classifier = classifier
        self.target = target
        self.class_counts = class_counts
        self.record = record

    def __repr__(self) -> str:
        sizes = f"{len(self.labels.values)} classes from {len(self.encoder.features)} columns"
        return f"<TableModel of {self.target!r}: {sizes}, {self.classifier.status_}>"

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The class labels, `(K,)`, in the order of the probabilities."""
        return np.array(self.labels.values, dtype=np.int64 if self.labels.kind == "int" else object)

    def predict_rows(self, table: tables.Table, rows: Ints | None = None, *, missing: str | None = None) -> Prediction:
        """Predict the rows of a table that can be encoded; `missing` as in `TableEncoder.transform`."""
        encoded = self.encoder.transform(table, rows, missing=missing)
        if not len(encoded.rows):
            raise DataError(f"every row of {table.source} has a missing value; pass --missing mean.")
        return Prediction(encoded.rows, self.classifier.predict_log_proba(encoded.X), encoded.notes)

    def predict_proba(self, frame: Any) -> Floats:
        """Return the probabilities `(n, K)` of the rows of a frame, or of the file of that name."""
        table = tables.as_table(frame)
        prediction = self.predict_rows(table)
        proba = np.full((table.n_rows, len(self.labels.values)), np.nan)
        proba[prediction.rows] = np.exp(prediction.log_proba)
        return proba

    def predict(self, frame: Any) -> npt.NDArray[Any]:
        """Return the most probable label of each row of a frame, or of the file of that name, `(n,)`."""
        table = tables.as_table(frame)
        prediction = self.predict_rows(table)
        chosen = self.classes_[np.argmax(prediction.log_proba, axis=1)]
        if len(chosen) == table.n_rows:
            return np.asarray(chosen)
        labels = np.full(table.n_rows, None, dtype=object)
        labels[prediction.rows] = chosen
        return labels

    def output(self, table: tables.Table, *, missing: str | None = None) -> tuple[Any, list[str]]:
        """Return a pyarrow table with a column `label` and one `p(<class>)` per class, and notes."""
        import pyarrow as pa

        prediction = self.predict_rows(table, missing=missing)
        codes = np.full(table.n_rows, tables.MISSING)
        codes[prediction.rows] = np.argmax(prediction.log_proba, axis=1)
        proba = np.zeros((table.n_rows, len(self.labels.values)))
        proba[prediction.rows] = np.exp(prediction.log_proba)
        columns = {"label": self.labels.decode(codes)}
        for name, column in zip(self.labels.names, proba.T, strict=True):
            columns[f"p({name})"] = pa.array(column, mask=codes < 0)
        return pa.table(columns), prediction.notes

    def evaluate(
        self, table: tables.Table, target: str | None = None, *, missing: str | None = None
    ) -> tuple[Scores, list[str]]:
        """Score the predictions for a table that has the target, and return notes."""
        target = self.target if target is None else target
        codes = self.labels.encode(table, target)
        labelled = np.flatnonzero(codes != tables.MISSING)
        notes = list(table.notes)
        if not len(labelled):
            raise DataError(f"the target {target!r} of {table.source} has no values at all.")
        if len(labelled) < table.n_rows:
            unlabelled = tables.plural(table.n_rows - len(labelled), "row")
            notes.append(f"left out {unlabelled} without a value of the target {target!r}")
        prediction = self.predict_rows(table, labelled, missing=missing)
        scores = evaluate(codes[prediction.rows], prediction.log_proba, self.class_counts.astype(float))
        if scores.n_unknown:
            message = tables.unknown_message(self.labels.unknown(table, target), self.labels)
            notes.append(f"{message}. Their rows count as wrong in the accuracy and in nothing else")
        return scores, notes + prediction.notes

    def __softmax_state__(self) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what `softmax.save` writes: a kind, a header for JSON, and arrays."""
        kind, classifier_header, classifier_arrays = self.classifier.__softmax_state__()
        encoding, encoder_arrays = self.encoder.to_state()
        header = {
            "target": self.target,
            "encoder": encoding,
            "labels": self.labels.to_state(),
            "classifier": {"kind": kind, "header": classifier_header},
            "record": self.record,
        }
        arrays = {f"classifier.{name}": array for name, array in classifier_arrays.items()}
        arrays |= {f"encoder.{name}": array for name, array in encoder_arrays.items()}
        return "TableModel", header, arrays | {"class_counts": self.class_counts}

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild a model from its state.

        Raises
        ------
        ModelFileError
            If the state is not one that `__softmax_state__` could have returned.
        """
        from .regression._state import restored

        try:
            encoder = tables.TableEncoder.from_state(header["encoder"], _under("encoder.", arrays))
            labels = tables.Labels.from_state(header["labels"])
            inner = header["classifier"]
            classifier = restored(inner["kind"], inner["header"], _under("classifier.", arrays))
            model = cls(encoder, labels, classifier, str(header["target"]), arrays["class_counts"], header["record"])
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"the saved table model is damaged ({error!r}).") from None
        if model.class_counts.shape != (len(labels.values),) or len(classifier.classes_) != len(labels.values):
            raise ModelFileError("the saved table model is damaged: its parts disagree about the number of classes.")
        if classifier.n_features_in_ != len(encoder.feature_names):
            raise ModelFileError("the saved table model is damaged: its parts disagree about the number of features.")
        return model


def fit_table(
    table: tables.Table, settings: FitSettings, *, test: tables.Table | None = None, progress: Progress | None = None
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

    Returns
    -------
    FitReport

    Raises
    ------
    DataError
        If a column cannot be used; the message says what to do.
    """
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

    def fit(what: str, chosen: Ints) -> tuple[TableModel, Certificate, list[str]]:
        encoder = tables.TableEncoder(settings.missing).fit(table, plan, chosen)
        encoded = encoder.transform(table, chosen)
        classifier = _classifier(settings, Step(f"fitting on {tables.plural(len(chosen), what)}"), progress)
        start = perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", NotCertifiedWarning)
            classifier.fit(encoded.X, codes[chosen], None if weights is None else weights[chosen])
        vars(classifier).pop("_progress", None)
        doubts = _sort_out(caught)
        certificate = _certificate(classifier, len(chosen), perf_counter() - start)
        sizes = np.bincount(codes[chosen], minlength=len(labels.values))
        return TableModel(encoder, labels, classifier, settings.target, sizes, {}), certificate, encoded.notes + doubts

    scored = scores = None
    train, held_out = rows, rows[:0]
    if test is None and settings.test_size:
        inner, outer = tables.stratified_split(codes[rows], settings.test_size, settings.seed)
        train, held_out = rows[inner], rows[outer]
    model, saved, fit_notes = fit("training row" if len(held_out) or test else "row", train)
    if test is not None:
        scored, held_out_rows = saved, test.n_rows
        if progress is not None:
            progress(Step(f"scoring {test.source}"))
        scores, test_notes = model.evaluate(test)
        notes += fit_notes + [f"{test.source}: {note}" for note in test_notes]
    elif len(held_out):
        scored, held_out_rows = saved, len(held_out)
        if progress is not None:
            progress(Step(f"scoring {tables.plural(len(held_out), 'held-out row')}"))
        prediction = model.predict_rows(table, held_out)
        scores = evaluate(codes[prediction.rows], prediction.log_proba, model.class_counts.astype(float))
        notes += [f"held-out rows: {note}" for note in prediction.notes if "not seen" in note]
        if settings.refit:
            model, saved, fit_notes = fit("row", rows)
        notes += fit_notes
    else:
        held_out_rows = 0
        notes += fit_notes
    report = FitReport(model, saved, scored, scores, len(train), held_out_rows, {}, notes)
    report.class_sizes = dict(zip(labels.names, counts.tolist(), strict=True))
    model.record = _record(report, table, settings, test)
    return report


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


def _classifier(settings: FitSettings, step: Step, progress: Progress | None) -> Any:
    from .regression import SoftmaxRegression

    classifier = SoftmaxRegression(
        settings.C,
        tol=settings.tol,
        max_iter=settings.max_iter,
        fit_intercept=settings.fit_intercept,
        class_weight=settings.class_weight,
    )
    if progress is not None:
        progress(step)

        def report(iteration: int, passes: float, objective: float, gap: float) -> None:
            progress(Step(step.stage, passes, objective, gap))

        classifier._progress = report
    return classifier


def _sort_out(caught: list[warnings.WarningMessage]) -> list[str]:
    """Return what a fit said about its certificate, as notes; give other warnings again."""
    doubts = []
    for warning in caught:
        if issubclass(warning.category, NotCertifiedWarning):
            doubts.append(str(warning.message).rstrip("."))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return doubts


def _certificate(classifier: Any, rows: int, seconds: float) -> Certificate:
    return Certificate(
        rows=rows,
        status=str(classifier.status_),
        objective=float(classifier.objective_),
        gap=float(classifier.gap_),
        grad_norm=float(classifier.grad_norm_),
        iterations=int(np.max(classifier.n_iter_)),
        passes=float(classifier.n_passes_),
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


def _under(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
