"""``softmax predict``: the file it writes holds the numbers of the model, in order, whatever the format."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import softmax as sm
from softmax.tables import read_table

from .conftest import penguins

CLASSES = ["Adélie", "Chinstrap", "Gentoo, large"]


@pytest.fixture
def model(softmax, penguin_file):
    assert softmax("fit", penguin_file, "--target", "species", "-q").code == 0
    return sm.load("penguins.safetensors")


READERS = {
    "csv": pd.read_csv,
    "tsv": lambda path: pd.read_csv(path, sep="\t"),
    "csv.gz": pd.read_csv,
    "tsv.gz": lambda path: pd.read_csv(path, sep="\t"),
    "parquet": pd.read_parquet,
    "arrow": lambda path: pl.read_ipc(path).to_pandas(),
    "feather": pd.read_feather,
}


@pytest.mark.parametrize("kind", READERS)
def test_the_file_holds_the_numbers_of_the_model(softmax, penguin_file, model, kind):
    done = softmax("predict", "penguins.safetensors", penguin_file, "-o", f"out.{kind}")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"Wrote out.{kind}: 90 rows, label and 3 probabilities.\n"
    written = READERS[kind](f"out.{kind}")
    assert list(written) == ["label", *(f"p({name})" for name in CLASSES)]
    frame = pd.read_csv(penguin_file)
    np.testing.assert_array_equal(written.iloc[:, 1:].to_numpy(), model.predict_proba(frame))
    assert written.label.tolist() == model.predict(frame).tolist()
    np.testing.assert_allclose(written.iloc[:, 1:].sum(axis=1), 1, atol=1e-14)
    assert (written.label == frame.species).mean() > 0.85


def test_standard_output(softmax, penguin_file, model):
    done = softmax("predict", "penguins.safetensors", penguin_file)
    assert softmax("predict", "penguins.safetensors", penguin_file, "-o", "o.csv").code == 0
    assert done.out == Path("o.csv").read_text()
    assert done.out.splitlines()[0] == 'label,p(Adélie),p(Chinstrap),"p(Gentoo, large)"'
    assert done.err == ""


def test_integer_labels(softmax):
    softmax("fit", "digits", "-q")
    softmax("predict", "digits.safetensors", "digits", "-o", "o.parquet")
    table = pl.read_parquet("o.parquet")
    assert table.schema["label"] == pl.Int64
    assert table.columns == ["label", *(f"p({k})" for k in range(10))]
    truth = read_table("o.parquet").numbers("label")
    assert np.mean(table["label"].to_numpy() == truth) == 1


def test_columns_in_another_order_and_new_categories(softmax, penguin_file, model):
    frame = pd.read_csv(penguin_file).drop(columns="species")
    frame.loc[:2, "island"] = ["Skye", "Skye", "Mull"]
    frame[frame.columns[::-1]].assign(extra="x").to_csv("new.csv", index=False)
    done = softmax("predict", "penguins.safetensors", "new.csv", "-o", "o.csv")
    assert done.code == 0
    assert " ".join(done.err.split()).startswith(
        "Note: column 'island' has categories that the model has not seen, in 3 rows: 'Skye' (2 rows), 'Mull' (1 row)."
    )
    np.testing.assert_array_equal(pd.read_csv("o.csv").iloc[:, 1:].to_numpy(), model.predict_proba(frame))
    assert softmax("predict", "penguins.safetensors", "new.csv", "-o", "o.csv", "-q").err == ""


def test_missing_values(softmax, model):
    Path("holes.csv").write_text(penguins(missing=True))
    refused = softmax("predict", "penguins.safetensors", "holes.csv")
    assert refused.code == 1
    assert refused.out == ""
    assert (
        "The model was fitted with --missing error, so it expects none. Pass --missing mean or drop here" in refused.err
    )
    assert softmax("predict", "penguins.safetensors", "holes.csv", "--missing", "mean", "-o", "mean.csv").code == 0
    assert pd.read_csv("mean.csv").notna().all(axis=None)
    done = softmax("predict", "penguins.safetensors", "holes.csv", "--missing", "drop", "-o", "drop.csv")
    assert "Note: left out 9 rows with missing values in" in done.err
    dropped = pd.read_csv("drop.csv")
    holes = pd.read_csv("holes.csv").sex.isna()
    assert len(dropped) == 90
    assert (dropped.isna().all(axis=1) == holes).all()
    assert (dropped.notna().all(axis=1) == ~holes).all()


def test_the_policy_of_the_fit_is_remembered(softmax):
    Path("holes.csv").write_text(penguins(missing=True))
    for policy, empty in (("mean", 0), ("indicator", 0), ("drop", 9)):
        softmax("fit", "holes.csv", "--target", "species", "--missing", policy, "-q")
        assert softmax("predict", "holes.safetensors", "holes.csv", "-o", "o.csv").code == 0
        assert pd.read_csv("o.csv").label.isna().sum() == empty
    labels = sm.load("holes.safetensors").predict(pd.read_csv("holes.csv"))
    assert [label is None for label in labels] == pd.read_csv("holes.csv").sex.isna().tolist()


def test_the_model_in_python(model, penguin_file):
    for frame in (pd.read_csv(penguin_file), pl.read_csv(penguin_file)):
        assert model.predict(frame).dtype == object
        np.testing.assert_array_equal(model.classes_, CLASSES)
        np.testing.assert_array_equal(model.predict(frame), model.classes_[model.predict_proba(frame).argmax(axis=1)])
    np.testing.assert_array_equal(model.predict(str(penguin_file)), model.predict(pd.read_csv(penguin_file)))
    assert repr(model) == "<TableModel of 'species': 3 classes from 4 columns, certified>"
    assert model.target == "species"
    assert model.record["settings"]["target"] == "species"
    assert model.record["settings"]["seed"] == 0
    assert model.record["train_rows"] == 72
    assert set(model.record["versions"]) == {"softmax", "numpy", "scikit-learn", "python"}


def test_nothing_is_overwritten_by_mistake(softmax, penguin_file, model):
    for output, what in (("penguins.csv", "penguins.csv"), ("./penguins.csv", "penguins.csv")):
        done = softmax("predict", "penguins.safetensors", penguin_file, "-o", output)
        assert done.code == 1
        assert f"is {what}; name another file with -o." in done.err
    assert penguin_file.read_text() == penguins().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.safetensors", "iris"], "nothing.safetensors: No such file or directory."),
        (["penguins.csv", "iris"], "penguins.csv is not a softmax model file"),
        (["penguins.safetensors", "iris"], "iris lacks 4 columns that the model needs: 'bill length (mm)', 'mass',"),
        (["penguins.safetensors", "nothing.csv"], "nothing.csv does not exist."),
        (["penguins.safetensors", "penguins.csv", "-o", "o.xlsx"], "o.xlsx does not say which format to write"),
        (["penguins.safetensors", "penguins.csv", "-o", "no/o.csv"], "no/o.csv cannot be written: the folder "),
        (["array.safetensors", "iris"], "array.safetensors holds a SoftmaxRegression that was saved from Python"),
    ],
    ids=["no-model", "foreign-model", "other-columns", "no-data", "format", "folder", "array-model"],
)
def test_errors(softmax, model, arguments, message):
    sm.save(model.classifier, "array.safetensors")
    done = softmax("predict", *arguments)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_damaged_models(softmax, penguin_file, model):
    content = bytearray(Path("penguins.safetensors").read_bytes())
    for damage in (content[:100], content[:-8], content[:-1] + bytes([content[-1] ^ 1])):
        Path("bad.safetensors").write_bytes(damage)
        done = softmax("predict", "bad.safetensors", penguin_file)
        assert done.code == 1
        assert "bad.safetensors is " in done.err
        assert "Copy or save it again." in done.err


@pytest.mark.parametrize("part", ["encoder", "labels", "classifier", "target", "record", "classes", "features"])
def test_states_that_do_not_hold_together(model, part):
    kind, header, arrays = model.__softmax_state__()
    assert kind == "TableModel"
    if part == "classes":
        arrays["class_counts"] = arrays["class_counts"][:2]
    elif part == "features":
        header["encoder"]["columns"].pop()
    else:
        del header[part]
    with pytest.raises(sm.ModelFileError, match="damaged"):
        type(model).from_state(header, arrays)
