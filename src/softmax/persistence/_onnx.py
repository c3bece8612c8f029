"""`to_onnx`: a fitted model as an ONNX graph of standard operators, compared with the model before it is written.

The graph needs opset 17 of ONNX and, for categories, version 3 of ai.onnx.ml: no operator of ours. The part of a table
model that is not numeric never becomes a wide 0/1 matrix: each category looks its coefficients up.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from softmax import __version__
from softmax._errors import MissingExtraError, OptionError, TargetError

from .._files import replace_file
from ._describe import Column, Description, Layer, describe, finite

if TYPE_CHECKING:
    import onnx

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
# What one file of protocol buffers can hold, less room for everything but the coefficients.
LARGEST_FILE = 2**31 - 2**24
OUTPUTS = ("label", "probabilities", "logits")

Array = npt.NDArray[Any]


def to_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "float64",
    precision: str = "accurate",
    logits: bool = False,
    verify: bool = True,
) -> onnx.ModelProto:
    """Turn a fitted model into an ONNX graph, and compare the two.

    Outputs are `label` (n,) and `probabilities` (n, K), classes in the order of ``classes_``; a `temperature_` is in
    the graph. A row without probabilities, because a number in it is nan, infinite or missing where the model accepts
    none, gets probabilities nan and the label "", nan or −2⁶³ (False, where labels are booleans).

    Of a classifier of arrays the input is `X` (n, d). Of a model of tables there is one input (n, 1) per column, with
    the name of the column: numbers raw, as they stand in the table, nan for a missing one; categories and booleans as
    text, "" for a missing one. Standardisation and categories are in the graph. A column called like an output gets the
    name ``column_<name>``.

    Parameters
    ----------
    model : SoftmaxRegression, SoftmaxRegressionCV, nn.NeuralSoftmaxClassifier or a fitted model of tables
    path : str or path, optional
        Where to write the graph too; whole or not at all.
    dtype : {"float64", "float32"}, default "float64"
        Of numeric inputs, probabilities and logits.
    precision : {"accurate", "fast"}, default "accurate"
        "accurate" computes in float64 whatever the dtype: probabilities are those of the model at these inputs to
        1e-6, rounding to `dtype` apart. "fast" computes in `dtype`, for accelerators without float64.
    logits : bool, default False
        Whether there is a third output, `logits` (n, K), not divided by the temperature.
    verify : bool, default True
        Whether to run the graph in ONNX Runtime, where that is installed, on rows made up from a fixed seed, and to
        compare it with `predict_proba`. The result stands in the metadata.

    Returns
    -------
    onnx.ModelProto
        Opset 17 and ai.onnx.ml 3. ``metadata_props`` hold, under ``softmax.…``: version, kind, classes, features,
        inputs, certificate, temperature and verified, as JSON but for the version. Equal models give equal bytes.

    Raises
    ------
    MissingExtraError
        If onnx is not installed.
    TypeError
        If the model is of another class.
    TargetError
        If ONNX has no type for the labels: bytes, dates, and objects that are not all text, integers or numbers.
    OptionError
        If an option is outside its range, or the graph would be larger than the 2 GiB of one file.
    RuntimeError
        If ONNX Runtime computes something else than the model does. Nothing is written then.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> model = sm.SoftmaxRegression().fit(*load_iris(return_X_y=True))
    >>> graph = sm.to_onnx(model, "iris.onnx")
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    if dtype not in ("float64", "float32"):
        raise OptionError(f"dtype must be 'float64' or 'float32', got {dtype!r}.")
    if precision not in ("accurate", "fast"):
        raise OptionError(f"precision must be 'accurate' or 'fast', got {precision!r}.")
    described = describe(model, "softmax.to_onnx")
    try:
        import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingExtraError.for_extra("softmax.to_onnx", "onnx", "onnx") from None
    inner = np.dtype(np.float64 if precision == "accurate" else dtype)
    _refuse_large(described, inner)
    graph = _Graph(np.dtype(dtype), inner)
    graph.model(described, logits=bool(logits))
    proto = graph.proto(described)
    onnx.checker.check_model(proto, full_check=True)
    verified = "not asked for"
    if verify:
        from ._onnx_verify import verified_graph

        verified = verified_graph(proto, model, described, graph.inputs_of, np.dtype(dtype), inner)
    _tell(proto, {"verified": verified})
    if path is not None:
        replace_file(path, proto.SerializeToString(deterministic=True))
    return proto


def _refuse_large(described: Description, inner: np.dtype[Any]) -> None:
    need = sum(layer.coef.size for layer in described.layers) * inner.itemsize
    if need > LARGEST_FILE:
        raise OptionError(
            f"the graph of {len(described.classes):,} classes and {len(described.features):,} features needs "
            f"{need / 2**30:.1f} GiB, and one ONNX file can hold 2. dtype='float32' with precision='fast' halves it; "
            "softmax.save has no such limit."
        )


@dataclass
class _Graph:
    """A graph while it grows: every method adds nodes and returns the name of what they compute.

    `outer` is the dtype of inputs and outputs, `inner` that of the arithmetic. `inputs_of` names the input of each
    column of a table.
    """

    outer: np.dtype[Any]
    inner: np.dtype[Any]
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    inputs_of: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=lambda: set(OUTPUTS))

    def model(self, described: Description, *, logits: bool) -> None:
        """Everything from the inputs to the outputs."""
        n_classes = len(described.classes)
        first, *later = described.layers
        if described.columns is None:
            parts = [self.op("MatMul", self.matrix("X", described), self.constant("weights", first.coef.T))]
        else:
            parts = self.table(described, described.columns, first)
        raw = self.op("Sum", *parts, self.constant("intercepts", first.intercept))
        if later:
            raw = self.through(raw, later, str(described.activation))
        scaled = raw
        if described.temperature != 1.0:
            scaled = self.op("Div", raw, self.constant("temperature", np.array(described.temperature)))
        probabilities = self.op("Softmax", scaled, axis=-1)
        self.label(described.classes, raw, probabilities)
        self.result("probabilities", probabilities, n_classes)
        if logits:
            self.result("logits", raw, n_classes)

    def through(self, z: str, layers: Sequence[Layer], activation: str) -> str:
        """The layers of a network after the first one; a row that is not finite becomes nan whatever the activation."""
        axis = self.constant("axis", np.array([-1]), np.dtype(np.int64))
        nothing = self.op("ReduceSum", self.op("Sub", z, z), axis)
        for layer in layers:
            product = self.op("MatMul", self.activation(activation, z), self.constant("weights", layer.coef.T))
            z = self.op("Add", product, self.constant("intercepts", layer.intercept))
        return self.op("Add", z, nothing)

    def activation(self, name: str, z: str) -> str:
        """What stands between two layers."""
        if name in ("relu", "tanh", "logistic"):
            return self.op({"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}[name], z)
        if name == "silu":
            return self.op("Mul", z, self.op("Sigmoid", z))
        cube = self.op("Mul", self.op("Mul", z, self.op("Mul", z, z)), self.constant("a", np.array(0.044715)))
        inner = self.op("Mul", self.op("Add", z, cube), self.constant("b", np.sqrt(np.array(2.0 / np.pi))))
        one, half = self.constant("one", np.ones(())), self.constant("half", np.array(0.5))
        return self.op("Mul", self.op("Mul", z, half), self.op("Add", self.op("Tanh", inner), one))

    def matrix(self, name: str, described: Description) -> str:
        """The one input (n, d) of a classifier."""
        return self.input(name, self.outer, len(described.features), "the features, one row per prediction")

    def table(self, described: Description, columns: Sequence[Column], first: Layer) -> list[str]:
        """The inputs of a table; the parts of its first layer that come from its numbers and from each other column."""
        for column in columns:
            self.inputs_of[column.name] = self.unique(
                column.name if column.name not in OUTPUTS else f"column_{column.name}"
            )
        ends = np.cumsum([column.width for column in columns])
        pairs = list(zip(columns, np.split(first.coef.T, ends[:-1]), strict=True))
        strict = described.missing in ("error", "drop")
        parts = self.numbers([pair for pair in pairs if pair[0].kind == "number"], strict=strict)
        return parts + [self.category(*pair, strict=strict) for pair in pairs if pair[0].kind != "number"]

    def numbers(self, pairs: Sequence[tuple[Column, Array]], *, strict: bool) -> list[str]:
        """Standardise the numeric columns and multiply by their coefficients; `strict` lets a missing one stay nan."""
        if not pairs:
            return []
        names = []
        for column, _ in pairs:
            mark = "nan gives no probabilities" if strict else "nan where missing"
            names.append(self.input(self.inputs_of[column.name], self.outer, 1, f"{column.name!r}, raw; {mark}"))
        raw = self.op("Concat", *names, axis=1) if len(names) > 1 else names[0]
        centred = self.op("Sub", raw, self.constant("means", np.array([c.mean for c, _ in pairs])))
        values = self.op("Div", centred, self.constant("scales", np.array([c.scale for c, _ in pairs])))
        absent = self.op("IsNaN", raw)
        if not strict:
            values = self.op("Where", absent, self.constant("zero", np.zeros(())), values)
        weights = np.stack([block[0] for _, block in pairs])
        parts = [self.op("MatMul", values, self.constant("weights", weights))]
        marked = [i for i, (column, _) in enumerate(pairs) if column.missing]
        if marked:
            chosen = self.op("Gather", absent, self.constant("marked", np.array(marked), np.dtype(np.int64)), axis=1)
            weights = np.stack([pairs[i][1][1] for i in marked])
            parts.append(self.op("MatMul", self.cast(chosen, self.inner), self.constant("weights", weights)))
        return parts

    def category(self, column: Column, block: Array, *, strict: bool) -> str:
        """Look up the coefficients of a category; "" is a missing one, unless it is a category itself."""
        codes = {category: i for i, category in enumerate(column.categories)}
        keys = {text: codes[value] for text, value in _spellings(column) if value in codes}
        unseen = np.zeros((1, block.shape[1]))
        missing = block[-1:] if column.missing else np.full_like(unseen, np.nan if strict else 0.0)
        table = np.concatenate([block[: len(codes)], unseen, missing])
        keys.setdefault("", len(codes) + 1)
        mark = "" if "" in column.categories else '; "" where missing'
        name = self.input(self.inputs_of[column.name], None, 1, f"{column.name!r}, text{mark}")
        code = self.op(
            "LabelEncoder",
            name,
            domain="ai.onnx.ml",
            keys_strings=list(keys),
            values_int64s=list(keys.values()),
            default_int64=len(codes),
        )
        looked_up = self.op("Gather", self.constant("weights", table), code, axis=0)
        return self.op("Squeeze", looked_up, self.constant("axis", np.array([1]), np.dtype(np.int64)))

    def label(self, classes: Array, logits: str, probabilities: str) -> None:
        """The label of the largest logit, or a mark where there is no probability."""
        from onnx import helper

        labels = _labels(classes)
        place = self.op("ArgMax", logits, axis=-1, keepdims=0)
        found = self.op("Gather", self.constant("classes", labels, labels.dtype), place, axis=0)
        kind = _onnx_type(labels.dtype)
        self.outputs.append(helper.make_tensor_value_info("label", kind, ["n"]))
        if labels.dtype == np.bool_:  # ONNX Runtime chooses between numbers and between texts, not between booleans
            self.op("Identity", found, name="label")
            return
        total = self.op(
            "ReduceSum", probabilities, self.constant("axis", np.array([-1]), np.dtype(np.int64)), keepdims=0
        )
        nothing = {"O": "", "f": np.nan}.get(labels.dtype.kind, np.iinfo(np.int64).min)
        mark = self.constant("no_label", np.array(nothing, dtype=labels.dtype), labels.dtype)
        self.op("Where", self.op("IsNaN", total), mark, found, name="label")

    def result(self, name: str, value: str, width: int) -> None:
        """An output (n, width) of the outer dtype."""
        from onnx import helper

        self.outputs.append(helper.make_tensor_value_info(name, _onnx_type(self.outer), ["n", width]))
        if self.outer == self.inner:
            self.op("Identity", value, name=name)
        else:
            self.op("Cast", value, to=_onnx_type(self.outer), name=name)

    def input(self, name: str, dtype: np.dtype[Any] | None, width: int, what: str) -> str:
        """An input (n, width) of numbers, brought to the inner dtype, or of text where `dtype` is None."""
        from onnx import TensorProto, helper

        kind = TensorProto.STRING if dtype is None else _onnx_type(dtype)
        self.used.add(name)
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["n", width], doc_string=what))
        return name if dtype in (None, self.inner) else self.cast(name, self.inner)

    def cast(self, name: str, dtype: np.dtype[Any]) -> str:
        return self.op("Cast", name, to=_onnx_type(dtype))

    def constant(self, name: str, values: Array, dtype: np.dtype[Any] | None = None) -> str:
        """A constant of the inner dtype, unless another is given."""
        from onnx import numpy_helper

        name = self.unique(name)
        array = np.array(values, dtype=self.inner if dtype is None else dtype, order="C")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """A node with one output."""
        from onnx import helper

        output = self.unique(kind.lower()) if name is None else name
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def unique(self, name: str) -> str:
        """A name that no column and no other value has."""
        free = next(n for i in itertools.count() if (n := f"{name}_{i}" if i else name) not in self.used)
        self.used.add(free)
        return free

    def proto(self, described: Description) -> onnx.ModelProto:
        """The finished model with its metadata."""
        from onnx import helper

        what = "softmax regression" if described.activation is None else "network with a softmax output"
        what = what if described.target is None else f"{what} of {described.target!r}"
        graph = helper.make_graph(self.nodes, "softmax", self.inputs, self.outputs, self.constants, doc_string=what)
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == "ai.onnx.ml" for node in self.nodes):
            opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        proto = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="softmax", producer_version=__version__
        )
        props: dict[str, Any] = {
            "version": __version__,
            "kind": described.kind,
            "classes": finite(described.classes),
            "features": described.features,
            "inputs": self.inputs_of or {"X": None},
            "certificate": finite(described.certificate),
            "temperature": described.temperature,
        }
        if described.target is not None:
            props["target"] = described.target
        _tell(proto, props)
        return proto


def _tell(proto: onnx.ModelProto, props: dict[str, Any]) -> None:
    """Add metadata: text as it is, everything else as JSON."""
    for key, value in props.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        proto.metadata_props.add(key=f"softmax.{key}", value=text)


def _onnx_type(dtype: np.dtype[Any]) -> int:
    from onnx import TensorProto, helper

    return int(TensorProto.STRING) if dtype.kind == "O" else int(helper.np_dtype_to_tensor_dtype(dtype))


def _spellings(column: Column) -> list[tuple[str, str]]:
    """Every text that stands for a category, with the category; a boolean has many."""
    if column.kind != "bool":
        return [(category, category) for category in column.categories]
    texts = [("0", "false"), ("1", "true")]
    for word in ("false", "true"):
        pairs = [(letter, letter.upper()) for letter in word]
        texts += [("".join(letters), word) for letters in itertools.product(*pairs)]
    return texts


def _labels(classes: Array) -> Array:
    """Class labels as ONNX can hold them: text (dtype object), int64, bool, float32 or float64.

    Raises
    ------
    TargetError
        If they are anything else.
    """
    values = classes.tolist()
    kinds = {type(value) for value in values}
    if kinds == {str}:
        for value in values:
            try:
                value.encode()
            except UnicodeEncodeError:
                raise TargetError(f"the label {value!r} is not valid Unicode, which ONNX asks for.") from None
        return np.array(values, dtype=object)
    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    if kinds == {int} and classes.dtype.kind in "iuO":
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        if least < min(values) and max(values) <= most:
            return np.array(values, dtype=np.int64)
        raise TargetError(f"the labels reach from {min(values)} to {max(values)}, more than int64 in ONNX can hold.")
    if kinds <= {float, int} and classes.dtype.kind in "fO":
        return np.array(values, dtype=np.float32 if classes.dtype == np.float32 else np.float64)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise TargetError(
        f"ONNX has no type for labels of dtype {classes.dtype} ({names}). Fit the model with labels that are text, "
        "integers, floats or booleans; bytes, for example, become text by y.astype(str)."
    )
