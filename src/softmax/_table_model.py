"""A classifier of table rows: the encoding of the columns, the regression, the names of the classes, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from . import tables
from ._errors import DataError, ModelFileError
from ._evaluation import Scores, evaluate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prediction:
    """Log-probabilities `(m, K)` of the `rows (m,)` of a table that could be encoded, and notes for the user."""

    rows: Ints
    log_proba: Floats
    notes: list[str]


class TableModel:
    """A fitted classifier that takes tables: files read with `read_table`, pandas, polars or Arrow frames.

    `softmax fit` and `softmax.load` make such objects. Rows with a missing value, where the model leaves them out, get
    the label None and probabilities nan.

    Attributes
    ----------
    encoder, labels, classifier
        How columns become features, how labels become codes 0 … K−1, and the classifier between the two.
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

    def features(self, frame: Any) -> Floats:
        """Return what the classifier sees of the rows of a frame that can be encoded, `(m, d)`."""
        return self.encoder.transform(tables.as_table(frame)).X

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
        scores, _, notes = self.scored(table, target, missing=missing)
        return scores, notes

    def scored(
        self, table: tables.Table, target: str | None = None, *, missing: str | None = None
    ) -> tuple[Scores, tuple[Ints, Floats], list[str]]:
        """The scores of a table that has the target, class codes and log-probabilities of the rows, and notes."""
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
        predicted = codes[prediction.rows], prediction.log_proba
        scores = evaluate(*predicted, self.class_counts.astype(float))
        if scores.n_unknown:
            message = tables.unknown_message(self.labels.unknown(table, target), self.labels)
            notes.append(f"{message}. Their rows count as wrong in the accuracy and in nothing else")
        return scores, predicted, notes + prediction.notes

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
        try:
            encoder = tables.TableEncoder.from_state(header["encoder"], _under("encoder.", arrays))
            labels = tables.Labels.from_state(header["labels"])
            inner = header["classifier"]
            classifier = _restored(inner["kind"], inner["header"], _under("classifier.", arrays))
            model = cls(encoder, labels, classifier, str(header["target"]), arrays["class_counts"], header["record"])
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"the saved table model is damaged ({error!r}).") from None
        if model.class_counts.shape != (len(labels.values),) or len(classifier.classes_) != len(labels.values):
            raise ModelFileError("the saved table model is damaged: its parts disagree about the number of classes.")
        if classifier.n_features_in_ != len(encoder.feature_names):
            raise ModelFileError("the saved table model is damaged: its parts disagree about the number of features.")
        return model


def _restored(kind: Any, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The classifier of a kind that its own state gave."""
    if kind == "NeuralSoftmaxClassifier":
        from .nn import NeuralSoftmaxClassifier

        return NeuralSoftmaxClassifier.from_state(header, arrays)
    from .regression._state import restored

    return restored(kind, header, arrays)


def _under(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
