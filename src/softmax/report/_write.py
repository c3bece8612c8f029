"""`write_report`: what is gathered from a model and its data, and the file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from softmax._errors import OptionError, SoftmaxError
from softmax._evaluation import evaluate
from softmax._files import replace_file
from softmax._verdict import separation_verdict
from softmax.regression._inference import infer
from softmax.regression._search import folds_compared
from softmax.tables import as_table, plural

from ._content import (
    Choice,
    Column,
    Content,
    Evaluated,
    Fit,
    largest_coefficients,
    reliabilities,
    spoken,
    versions,
)
from ._html import shorten
from ._page import page

if TYPE_CHECKING:
    from softmax._table_fit import FitReport
    from softmax.tables import Table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KINDS = {"category": "category, 0/1", "bool": "category, 0/1"}
POLICIES = {
    "error": "refused",
    "mean": "filled with the mean, or a category of their own",
    "indicator": "filled with the mean, and marked in a column",
    "drop": "their rows left out",
}
# Beyond this number of coefficients their covariance takes longer than a few seconds.
MOST_INFERRED = 1200
MOST_WORK = 5e10  # rows × coefficients², the multiplications of a covariance


@dataclass(frozen=True, eq=False)
class Design:
    """The rows of a fit: features, targets as they were given, class codes (n,), weights or None."""

    X: Any
    y: Any
    codes: Ints
    weights: Any = None


def write_report(
    model: Any,
    path: str | os.PathLike[str],
    *,
    data: tuple[Any, ...] | None = None,
    evaluation: Any = None,
    title: str | None = None,
    command: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a report on a fitted model: one HTML file without links to the outside.

    It shows the data, the certificate with the way of the fit, and, on the rows of `evaluation`, scores, confusions,
    figures per class and the reliability of the probabilities; the largest coefficients, and the search for C where
    there was one. It can be read on a phone, in the dark and on paper, and equal input gives equal bytes.

    Parameters
    ----------
    model : SoftmaxRegression, SoftmaxRegressionCV or a fitted model of tables
    path : str or path
        Name of the file; an existing file is replaced.
    data : tuple (X, y) or (X, y, sample_weight), optional
        What the model was fitted on: for the class sizes and the intervals of the coefficients. Not for a model of
        tables.
    evaluation : tuple (X, y), or a frame or file for a model of tables, optional
        Rows with their labels, better ones that the model has not seen.
    title : str, optional
        What stands at the top.
    command : str, optional
        What made the model, to be shown as it is.
    notes : sequence of str, default=()
        Sentences for the reader.

    Raises
    ------
    OptionError
        If `data` or `evaluation` is not of these forms, or the model is a network.
    MissingExtraError
        If matplotlib or pyarrow is not installed.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    OSError
        If the file cannot be written; an older one is then unchanged.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> X, y = load_iris(return_X_y=True)
    >>> model = sm.SoftmaxRegression().fit(X[::2], y[::2])
    >>> sm.write_report(model, "iris.html", data=(X[::2], y[::2]), evaluation=(X[1::2], y[1::2]))
    """
    from sklearn.utils.validation import check_is_fitted

    if hasattr(getattr(model, "classifier", model), "hidden_layer_sizes"):
        raise OptionError(
            "a report shows a certificate and coefficients with their intervals, and a network has neither. "
            "softmax.model_card describes it, and softmax evaluate scores it."
        )
    if hasattr(model, "encoder"):
        content = table_content(model)
        if data is not None:
            raise OptionError("a model of tables knows its data: pass no data, only evaluation.")
        if evaluation is not None:
            content.evaluated = _evaluated_table(model, evaluation, content.notes)
    else:
        check_is_fitted(model)
        content = array_content(model, data, evaluation)
    content.title = title or content.title
    content.command = command
    content.notes += notes
    save_content(content, path)


def save_content(content: Content, path: str | os.PathLike[str]) -> None:
    """Write the page beside its place and rename it."""
    replace_file(path, page(content).encode("utf-8"))


def array_content(model: Any, data: tuple[Any, ...] | None, evaluation: Any) -> Content:
    """What a report says of a model of arrays."""
    labels = [str(label) for label in model.classes_.tolist()]
    given = getattr(model, "feature_names_in_", None)
    features = [f"x{j}" for j in range(model.n_features_in_)] if given is None else [str(f) for f in given]
    content = Content(f"Softmax regression: {plural(len(labels), 'class')}", labels, versions=versions())
    content.facts = [("features", f"{len(features):,}"), ("classes", f"{len(labels):,}"), *settings_of(model)]
    design = None
    if data is not None:
        X, y, weights = _parts(data, "data", 3)
        codes = codes_of(model, y, "data")
        content.facts.insert(0, ("rows", f"{len(codes):,}"))
        content.sizes = np.bincount(codes[codes >= 0], minlength=len(labels))
        design = Design(X, y, codes, weights)
    what = "the data" if design is None else plural(len(design.codes), "row")
    content.fits = [fit_of(model, what)]
    if evaluation is not None:
        X, y, _ = _parts(evaluation, "evaluation", 2)
        codes = codes_of(model, y, "evaluation")
        weights = np.ones(len(labels)) if content.sizes is None else content.sizes.astype(float)
        scored = plural(len(codes), "row")
        content.evaluated = evaluated(
            scored, model.predict_log_proba(X), codes, weights.astype(float), temperature_of(model)
        )
    content.choice = choice_of(model)
    add_coefficients(content, model, features, design)
    return content


def table_content(model: Any, design: Design | None = None) -> Content:
    """What a report says of a model of tables, without a new evaluation; `design` is what it was fitted on."""
    record = model.record
    content = Content(
        f"{model.target} from {record.get('data', 'a table')}", list(model.labels.names), versions=versions()
    )
    rows = int(model.class_counts.sum())
    encoder = model.encoder
    content.facts = [
        ("table", str(record.get("data", "–"))),
        ("target", model.target),
        ("rows of the fit", f"{rows:,}"),
        ("columns", f"{len(encoder.features):,}"),
        ("features", f"{len(encoder.feature_names):,}"),
        ("classes", f"{len(model.labels.values):,}"),
        ("missing values", POLICIES.get(encoder.missing, encoder.missing)),
        *settings_of(model.classifier),
    ]
    content.columns = [Column(f.name, KINDS.get(f.kind, f.kind), None, len(f.outputs)) for f in encoder.features]
    content.sizes = np.asarray(model.class_counts)
    content.fits = [fit_of(model.classifier, plural(rows, "row"))]
    content.choice = choice_of(model.classifier)
    add_coefficients(content, model.classifier, encoder.feature_names, design)
    return content


def fit_content(report: FitReport, table: Table, command: str | None = None) -> Content:
    """What a report says of a fit or a search from the command line."""
    model, last = report.model, report.last
    content = table_content(model, design=Design(last.X, last.codes, last.codes, last.weights))
    content.title = f"{model.target} from {table.source}"
    content.facts[0] = ("table", f"{table.source}: {table.n_rows:,} rows, {len(table.names)} columns")
    missing = {f.name: _missing(table, f) for f in model.encoder.features}
    content.columns = [replace(column, missing=missing[column.name]) for column in content.columns]
    certificates = [report.saved] if report.scored in (None, report.saved) else [report.scored, report.saved]
    content.fits = [
        replace(
            content.fits[-1],
            what=plural(c.rows, "row"),
            status=c.status,
            objective=c.objective,
            gap=c.gap,
            grad_norm=c.grad_norm,
            passes=c.passes,
            iterations=c.iterations,
            seconds=c.seconds if content.choice is None else None,  # that of a search is about all its fits
            history=content.fits[-1].history if c is report.saved else (),
        )
        for c in certificates
        if c is not None
    ]
    if report.predicted is not None:
        if report.scored is None:
            what = f"{plural(report.held_out_rows, 'row')}, each by a fit to the other folds"
        else:
            test = model.record["test_data"]
            which = "held-out rows" if test is None else f"rows of {test}"
            what = f"{report.held_out_rows:,} {which}, by the fit on {plural(report.scored.rows, 'row')}"
        codes, log_proba = report.predicted
        counts = model.class_counts.astype(float)
        content.evaluated = evaluated(what, log_proba, codes, counts, report.temperature)
    elif content.choice is None:
        content.notes.append("no rows were held out, so that there are no scores")
    content.notes += report.notes
    content.command = command
    return content


def _missing(table: Table, feature: Any) -> int:
    """Rows of a column without a value."""
    if feature.kind == "number":
        return int(np.count_nonzero(np.isnan(table.numbers(feature.name))))
    return int(np.count_nonzero(table.texts(feature.name).codes < 0))


def choice_of(model: Any) -> Choice | None:
    """The search for C of a cross-validated model; of several shares of L1 the one that was chosen."""
    if not hasattr(model, "mean_scores_"):
        return None
    shape = (len(model.Cs_), len(model.l1_ratios_))
    ratio = int(np.argmax(model.l1_ratios_ == model.l1_ratio_))
    mean, error = (array.reshape(shape)[:, ratio] for array in (model.mean_scores_, model.std_errors_))
    order = np.argsort(model.Cs_, kind="stable")
    order = order[~np.isnan(mean[order])]  # an interrupted search has not been everywhere
    scoring = str(model.scoring).replace("_", " ").replace("neg ", "minus ")
    folds = "approximate leave-one-out" if len(model.scores_) == 1 else plural(folds_compared(model), "fold")
    rule = "the smallest C within one standard error of the best" if model.one_standard_error else "the best mean score"
    also = f" L1 ratio {model.l1_ratio_:g}, chosen of {plural(shape[1], 'value')}." if shape[1] > 1 else ""
    return Choice(
        Cs=model.Cs_[order],
        mean=mean[order],
        error=error[order],
        chosen=model.C_,
        best=float(model.Cs_[int(np.nanargmax(mean))]),
        scoring=scoring,
        rule=f"Score over C by {folds}; larger is better. Chosen: {rule}.{also}",
    )


def settings_of(model: Any) -> list[tuple[str, str]]:
    """The parameters that are not at their defaults, in words; C and the intercept always."""
    import inspect

    defaults = {
        name: parameter.default for name, parameter in inspect.signature(type(model).__init__).parameters.items()
    }
    parameters = model.get_params(deep=False)
    shown = {name: value for name, value in parameters.items() if name == "C" or _differs(value, defaults.get(name))}
    return [(name, _in_words(value)) for name, value in shown.items() if name not in ("verbose", "n_threads")]


def fit_of(model: Any, what: str, seconds: float | None = None) -> Fit:
    """The certificate of a fitted estimator."""
    return Fit(
        what=what,
        status=str(model.status_),
        objective=float(model.objective_),
        gap=float(model.gap_),
        grad_norm=float(model.grad_norm_),
        passes=float(model.n_passes_),
        iterations=int(np.max(model.n_iter_)),
        tolerance=float(model.tol),
        seconds=seconds,
        history=list(getattr(model, "history_", ())),
    )


def evaluated(what: str, log_proba: Floats, codes: Ints, class_weights: Floats, temperature: float) -> Evaluated:
    """Score predictions, made at a temperature, for rows with these class codes."""
    return Evaluated(what, evaluate(codes, log_proba, class_weights), reliabilities(log_proba, codes, temperature))


def _evaluated_table(model: Any, evaluation: Any, notes: list[str]) -> Evaluated:
    """Score a model of tables on a frame or file that has the target."""
    table = as_table(evaluation)
    codes = model.labels.encode(table, model.target)
    labelled = np.flatnonzero(codes != -1)
    prediction = model.predict_rows(table, labelled)
    notes += [*table.notes, *prediction.notes]
    what = f"{plural(len(prediction.rows), 'row')} of {table.source}"
    counts = model.class_counts.astype(float)
    temperature = temperature_of(model.classifier)
    return evaluated(what, prediction.log_proba, codes[prediction.rows], counts, temperature)


def add_coefficients(
    content: Content,
    classifier: Any,
    features: Sequence[str],
    design: Design | None,
) -> None:
    """Put the coefficients, their intervals where there can be any, and the verdict on separation into the content."""
    names = content.labels
    errors = None
    if design is None:
        content.no_intervals = "the rows of the fit were not passed to the report."
    else:
        errors, content.no_intervals, content.interval_note = standard_errors(
            classifier, design.X, design.y, design.weights, features
        )
    content.n_coefficients = int(classifier.coef_.size)
    content.coefficients = largest_coefficients(classifier.coef_, names, features, errors)
    content.speaks = spoken(classifier.coef_, names, features)
    content.temperature = temperature_of(classifier)
    direction = getattr(classifier, "separating_direction_", None)
    if classifier.status_ == "separated":
        content.separation = "no finite optimum exists"
        if direction is not None and design is not None:
            verdict = separation_verdict(np.asarray(direction), design.X, design.codes)
            content.separation += ": " + verdict.words(names, features)


def standard_errors(
    classifier: Any, X: Any, y: Any, weights: Any, features: Sequence[str]
) -> tuple[Floats | None, str, str]:
    """Standard errors (K, d) of the coefficients, why there are none, and what they mean; `y` as in a fit."""
    if classifier.status_ == "separated":
        return None, "classes are separated, so that there is no finite estimate.", ""
    n_classes, width = classifier.coef_.shape
    size = (n_classes - 1) * (width + 1)
    if size > MOST_INFERRED or len(y) * float(size) ** 2 > MOST_WORK:
        return None, f"the covariance of {size:,} coefficients would take longer than the fit.", ""
    plain = as_plain(classifier)
    penalised = bool(np.isfinite(plain.C))
    try:
        result = infer(
            plain,
            X,
            y,
            sample_weight=weights,
            assume="sandwich" if penalised else None,
            covariance="classical" if weights is None and not penalised else "robust",
            parametrisation="symmetric",
        )
    except (SoftmaxError, MemoryError) as error:
        return None, _named(str(error), features), ""
    errors: Floats = result.bse[:, 1:] if result.intercept else result.bse
    kind = "sandwich" if penalised or weights is not None else "classical"
    note = f"Standard errors are {kind} ones, of coefficients that sum to 0 over the classes."
    if penalised:
        note += " The penalty draws the coefficients towards 0: intervals are around its optimum, not around the truth."
    return errors, "", note


def _named(message: str, features: Sequence[str]) -> str:
    """A message with the names of the columns in the place of their numbers."""

    def name(match: re.Match[str]) -> str:
        j = int(match[1])
        return repr(shorten(features[j])) if j < len(features) else match[0]

    return re.sub(r"\bx(\d+)\b", name, message)


def as_plain(classifier: Any) -> Any:
    """A cross-validated model as the `SoftmaxRegression` that it fitted last."""
    if not hasattr(classifier, "C_"):
        return classifier
    from softmax import SoftmaxRegression

    mine, given = SoftmaxRegression().get_params(deep=False), classifier.get_params(deep=False)
    shared = {name: value for name, value in given.items() if name in mine}
    plain = SoftmaxRegression(**shared | {"C": classifier.C_, "l1_ratio": classifier.l1_ratio_})
    plain.__dict__.update({name: value for name, value in vars(classifier).items() if name.endswith("_")})
    return plain


def temperature_of(classifier: Any) -> float:
    """What divides the logits of a model."""
    return float(getattr(classifier, "temperature_", 1.0))


def codes_of(model: Any, y: Any, what: str) -> Ints:
    """Labels as positions among the classes of a model, −2 for one that it does not know; of probabilities the
    largest.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == len(model.classes_):
        return np.asarray(np.argmax(labels, axis=1))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise OptionError(
            f"the labels of {what} must be one column, or probabilities of every class; got shape {labels.shape}."
        )
    place = {label: i for i, label in enumerate(model.classes_.tolist())}
    return np.array([place.get(label, -2) for label in labels.tolist()], dtype=np.int64)


def _parts(given: Any, what: str, most: int) -> tuple[Any, Any, Any]:
    if not isinstance(given, tuple) or not 2 <= len(given) <= most:
        form = "(X, y)" if most == 2 else "(X, y) or (X, y, sample_weight)"
        raise OptionError(f"{what} must be a tuple {form}, got {type(given).__name__}.")
    return given[0], given[1], given[2] if len(given) > 2 else None


def _differs(value: Any, default: Any) -> bool:
    return not (isinstance(value, type(default)) and not isinstance(value, np.ndarray) and value == default)


def _in_words(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return f"{value:g}" if isinstance(value, float) else str(value)
