"""Models of tables from files: what no fit can have left is refused, and told."""

import numpy as np
import pytest

import softmax as sm
from softmax.persistence import _format

from .test_hostile import refused, with_state
from .test_onnx import holed_frame, table_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good model of a table with numbers, categories and booleans."""
    path = tmp_path_factory.mktemp("good") / "m"
    sm.save(table_model(holed_frame(), missing="indicator"), path)
    return path.read_bytes()


def column(name, /, **values):
    """Change the entry of a column."""

    def change(state, arrays):
        next(entry for entry in state["encoder"]["columns"] if entry["name"] == name).update(values)

    return change


def array(name, value):
    return lambda state, arrays: arrays.update({name: value})


def entry(*path, value):
    """Set a value deep in the state."""

    def change(state, arrays):
        inner = state
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def first(name, value):
    def change(state, arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][0] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, arrays: state.pop("encoder"), "encoder"),
        (lambda state, arrays: state.pop("classifier"), "classifier"),
        (lambda state, arrays: arrays.pop("class_counts"), "class_counts"),
        (lambda state, arrays: arrays.pop("encoder.scale"), "damaged"),
        (lambda state, arrays: state.update(code="x"), r"unknown \['code'\]"),
        (array("evil", np.ones(3)), r"unknown arrays \['evil'\]"),
        (array("classifier.evil", np.ones(3)), "unknown 'evil'"),
        (array("encoder.evil", np.ones(3)), "unknown arrays"),
        (first("encoder.mean", np.nan), "has mean nan"),
        (first("encoder.mean", np.inf), "has mean inf"),
        (first("encoder.scale", 0.0), "and scale 0.0"),
        (first("encoder.scale", -1.0), "and scale -1.0"),
        (first("encoder.scale", np.nan), "and scale nan"),
        (array("encoder.mean", np.ones(9)), "encoder.mean should be a number for each of 4"),
        (array("encoder.scale", np.ones(3)), "damaged"),
        (array("encoder.scale", np.array(["a"] * 4)), "damaged"),
        (array("class_counts", np.array([1.5, 2.0, 3.0])), "rows per class should be whole numbers"),
        (array("class_counts", np.array([-1, 2, 3])), "rows per class should be whole numbers"),
        (array("class_counts", np.array([1, 2])), "disagree about the number of classes"),
        (column("sunny", categories=["false", "false"]), "has the category 'false' twice"),
        (column("sunny", categories=["false"]), "disagree about the number of features"),
        (column("sunny", categories=3), "damaged"),
        (column("sunny", name="epoch"), "two columns are called 'epoch'"),
        (column("epoch", kind="category"), "damaged"),
        (entry("encoder", "missing", value="guess"), "damaged"),
        (entry("encoder", "columns", value={"a": 1}), "damaged"),
        (entry("encoder", "columns", value=[1, 2]), "damaged"),
        (entry("encoder", value=[]), "damaged"),
        (entry("labels", "values", value=["Adélie", "Adélie", "Gentoo, large"]), "a class stands in it twice"),
        (entry("labels", "values", value=["Adélie"]), "disagree about the number of classes"),
        (entry("labels", "kind", value="complex"), "labels of the unknown kind 'complex'"),
        (entry("labels", "kind", value="int"), "damaged"),
        (entry("classifier", "kind", value="os.system"), "unknown kind 'os.system'"),
        (entry("classifier", "kind", value="TableModel"), "unknown kind 'TableModel'"),
        (entry("classifier", "kind", value=["SoftmaxRegression"]), "unknown kind"),
        (entry("classifier", value="SoftmaxRegression"), "damaged"),
        (entry("classifier", "header", "params", "C2", value=1), "unknown parameters C2"),
        (entry("record", value=3), "its record is not one that a fit leaves"),
        (entry("record", "settings", value="x"), "its record is not one that a fit leaves"),
    ],
)
def test_a_table_model_that_no_fit_leaves_is_refused(tmp_path, whole, change, message):
    refused(tmp_path, with_state(whole, change), message)


def test_the_good_file_loads(tmp_path, whole):
    (tmp_path / "m").write_bytes(whole)
    model = sm.load(tmp_path / "m")
    expected = table_model(holed_frame(), missing="indicator")
    np.testing.assert_array_equal(model.predict_proba(holed_frame()), expected.predict_proba(holed_frame()))
    assert _format.read_file(tmp_path / "m", "m").kind == "TableModel"
