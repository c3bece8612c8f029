"""``softmax info``: the file in words and as JSON, at every width, and what becomes of a bad one."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import softmax as sm
from softmax.persistence import _format

from .conftest import penguins

V1 = Path(__file__).parents[1] / "persistence" / "data"


@pytest.fixture
def model(softmax):
    Path("p.csv").write_text(penguins(missing=True), encoding="utf-8")
    assert softmax("fit", "p.csv", "--target", "species", "--missing", "indicator", "-C", 2, "-q").code == 0
    return sm.load("p.safetensors")


def rows(text):
    """Names and values of lines with two spaces between them."""
    return dict(re.findall(r"^(\S.*?)  +(\S.*?) *$", text, re.M))


def test_the_screen(softmax, model):
    done = softmax("info", "p.safetensors")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:2] == ["p.safetensors: softmax regression of 'species'", "3 classes from 9 features of 4 columns"]
    assert max(map(len, lines)) <= 80
    found = rows(done.out)
    assert found["Adélie"] == "30   33.3%"
    assert found["island"] == "category: 0/1 features: Biscoe, Dream, Torgersen"
    assert re.match(r"number: \(value − 4\d\.\d+\) / \d", found["bill length (mm)"])
    certificate = model.classifier
    assert found["status"] == "certified"
    assert found["objective"] == f"{certificate.objective_:.8g} nats"
    assert found["gap, at most"] == f"{certificate.gap_:.1e} nats"
    assert found["relative gap"] == f"{certificate.gap_ / certificate.objective_:.1e} (tol 1e-06)"
    assert "this is proven, not estimated." in done.out
    assert found["parameters"] == "C=2.0"
    assert found["temperature"] == "1 (not calibrated)"
    assert found["missing values"] == "indicator"
    assert found["fitted on"] == "p.csv"
    assert found["size"] == f"{Path('p.safetensors').stat().st_size / 1000:.1f} kB"
    assert re.fullmatch(r"whole; sha256 [0-9a-f]{16}…", found["integrity"])
    assert found["layout"] == "version 2"
    assert f"softmax {sm.__version__}" in found["written by"]
    assert "written at" not in found


@pytest.mark.parametrize("width", [40, 60, 200])
def test_narrow_and_wide_terminals(softmax, model, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    done = softmax("info", "p.safetensors")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= width
    text = " ".join(done.out.split())
    for word in ("Torgersen", "certified", "scikit-learn", "estimated."):
        assert word in text
    assert "…" not in text.replace(re.search(r"sha256 ?\S+…", text)[0], "")


def test_json(softmax, model):
    done = softmax("info", "p.safetensors", "--json")
    found = json.loads(done.out, parse_constant=lambda name: pytest.fail(name))
    file, told = found["file"], found["model"]
    assert file["bytes"] == Path("p.safetensors").stat().st_size
    assert file["sha256"] == _format.read_file(Path("p.safetensors"), "").sha256
    assert file["versions"]["softmax"] == sm.__version__
    assert told["classes"] == ["Adélie", "Chinstrap", "Gentoo, large"]
    assert told["class_sizes"] == [30, 30, 30]
    assert told["certificate"]["gap"] == model.classifier.gap_
    assert "proven" in told["certificate"]["meaning"]
    assert told["parameters"]["C"] == 2.0
    assert told["record"]["held_out_rows"] == 18
    assert "coefficients" not in told
    assert len(told["features"]) == 9


def test_the_checksum_is_that_of_the_file_and_not_made_up(softmax, model):
    """Computed here by the description of the format, apart from the code that wrote it."""
    data = Path("p.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    metadata = outer.pop("__metadata__")
    digest = hashlib.sha256()
    texts = ["softmax-model", metadata["version"], metadata["header"]]
    kinds = {"F64": "<f8", "I64": "<i8"}
    for name in sorted(outer):
        shape = tuple(outer[name]["shape"])
        texts += [name, kinds[outer[name]["dtype"]], repr(shape)]
    for text in texts:
        digest.update(len(text.encode()).to_bytes(8, "little") + text.encode())
    for name in sorted(outer):
        start, stop = outer[name]["data_offsets"]
        digest.update(data[8 + length + start : 8 + length + stop])
    assert json.loads(softmax("info", "p.safetensors", "--json").out)["file"]["sha256"] == digest.hexdigest()


def test_a_classifier_saved_from_python(softmax):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.arange(24.0).reshape(6, 4), columns=["α", "b", "c d", "e"])
    model = sm.SoftmaxRegression(tol=1e-9).fit(X, list("abcabc"))
    model.penalty_weights = [1.0, 2.0, 1.0, 1.0]
    model.temperature_ = 2.5
    sm.save(model, "m", timestamp=True)
    done = softmax("info", "m")
    found = rows(done.out)
    assert done.out.startswith(
        "m: softmax regression\n3 classes from 4 features\n\nClasses\na, b, c\n\nFeatures\nα, b, c d, e\n"
    )
    assert found["parameters"] == "penalty_weights=[1.0, 2.0, 1.0, 1.0], tol=1e-09"
    assert found["temperature"] == "2.5"
    assert float(found["λ"]) == pytest.approx(1 / 6, rel=1e-5)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["written at"])


def test_the_condition_of_an_estimated_fit(softmax):
    X = np.random.default_rng(0).standard_normal((60, 2))
    sm.save(sm.SoftmaxRegression(np.inf).fit(X, np.arange(60) % 3), "m")
    found = rows(softmax("info", "m").out)
    assert re.fullmatch(r"about \d\.\de\+00 \(estimated\)", found["condition"])
    assert json.loads(softmax("info", "m", "--json").out)["model"]["certificate"]["condition"] >= 1.0
    assert "condition of the Hessian, estimated" in sm.model_card(sm.load("m"))
    sm.save(sm.SoftmaxRegression().fit(X, np.arange(60) % 3), "m")
    assert "condition" not in rows(softmax("info", "m").out)
    assert "condition of the Hessian" not in sm.model_card(sm.load("m"))


def test_a_calibration(softmax):
    model = sm.SoftmaxRegression().fit(np.eye(4), [0, 1, 0, 1])
    model.temperature_ = 1.25
    model.calibration_ = {"temperature": 1.25, "log_loss_before": 0.5, "log_loss_after": 0.25, "n_rows": 4}
    sm.save(model, "m")
    text = " ".join(softmax("info", "m").out.split())
    assert "temperature 1.25 (calibrated: log-loss from 0.5 to 0.25 on rows held out)" in text
    assert json.loads(softmax("info", "m", "--json").out)["model"]["calibration"] == model.calibration_
    model.calibration_ = {"log_loss_before": "\x1b"}
    sm.save(model, "m")
    assert "1.25 (calibrated)" in softmax("info", "m").out


def test_many_classes_and_columns_are_cut(softmax):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.standard_normal((200, 50)), columns=[f"column {j}" for j in range(50)])
    frame["y"] = np.arange(200) % 40
    frame.to_parquet("wide.parquet")
    assert softmax("fit", "wide.parquet", "--target", "y", "--tol", 0.1, "-q").code == 0
    done = softmax("info", "wide.safetensors")
    assert done.out.count("… and 20 more\n") == 2
    assert len(done.out.splitlines()) < 100
    sm.save(sm.SoftmaxRegression(tol=0.1).fit(frame.drop(columns="y"), frame.y), "m")
    done = softmax("info", "m")
    assert "… and 20 more" in " ".join(done.out.split())
    assert "… and 38 more" in " ".join(done.out.split())


@pytest.mark.parametrize("name", ["version-1.model", "version-1-bytes.model", "version-1-table.model"])
def test_old_files(softmax, name):
    done = softmax("info", V1 / name)
    assert done.code == 0
    found = rows(done.out)
    assert found["layout"] == "version 1"
    assert "λ" not in found
    told = json.loads(softmax("info", V1 / name, "--json").out)
    assert told["file"]["layout"] == 1
    assert told["model"]["certificate"]["penalty"] is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("estimated", "by an estimate, not by a proof"),
        ("not converged", "nothing is known of its distance from the optimum"),
        ("separated", "no finite optimum exists"),
    ],
)
def test_fits_without_a_certificate(softmax, status, words):
    model = sm.SoftmaxRegression().fit(np.eye(4), [0, 1, 0, 1])
    model.status_, model.gap_ = status, np.inf if status == "not converged" else 1e-3
    sm.save(model, "m")
    done = softmax("info", "m")
    assert done.code == 0
    assert rows(done.out)["status"] == status
    assert words in " ".join(done.out.split())
    told = json.loads(softmax("info", "m", "--json").out)
    assert told["model"]["certificate"]["gap"] == (None if status == "not converged" else 1e-3)


def test_names_do_not_steer_the_terminal(softmax):
    evil = "\x1b[2J\x1b]0;title\x07"
    X = np.arange(8.0).reshape(4, 2)
    model = sm.SoftmaxRegression(solver="newton").fit(X, np.array([evil, "[red]b[/red]\n"])[[0, 1, 0, 1]])
    model.feature_names_in_ = np.array([evil + "f", "\u202e"], dtype=object)
    model.status_, model.solver = evil, evil
    sm.save(model, "m")
    done = softmax("info", "m")
    assert done.code == 0
    assert all(c.isprintable() for c in done.out.replace("\n", ""))
    assert r"\x1b[2J\x1b]0;title\x07" in done.out
    assert "[red]b[/red]" in done.out


@pytest.mark.parametrize("place", [12, 300, -3])
def test_a_damaged_file(softmax, model, place):
    data = bytearray(Path("p.safetensors").read_bytes())
    data[place] ^= 4
    Path("bad").write_bytes(data)
    for arguments in (("info", "bad"), ("info", "bad", "--json"), ("export", "bad", "--format", "json")):
        done = softmax(*arguments)
        assert (done.code, done.out) == (1, "")
        assert re.match(r"Error: bad .*(damaged|not a softmax model|cannot read)", done.err)
        assert len(done.err.splitlines()) == 1


def test_other_bad_files(softmax, model):
    data = Path("p.safetensors").read_bytes()
    Path("short").write_bytes(data[:500])
    Path("empty").write_bytes(b"")
    Path("evil").write_bytes(_format.to_bytes(_format.Content("\x1b[2J", {}, {}, {"softmax": "\x1b[2J"})))
    for name, message in [
        ("short", "is cut off"),
        ("empty", "has only 0 bytes"),
        ("evil", r"'\x1b[2J', written by softmax \x1b[2J"),
        ("p.csv", "is not a softmax model file"),
        ("absent", "No such file or directory"),
        (".", "Is a directory"),
    ]:
        done = softmax("info", name)
        assert (done.code, done.out) == (1, "")
        assert message in done.err
        assert "mistake in softmax" not in done.err
        assert "\x1b" not in done.err


@pytest.mark.parametrize("record", [[], "text", {"settings": 3}, {"held_out": [1]}, {"versions": "x"}])
def test_a_record_that_no_fit_leaves(softmax, model, record):
    content = _format.read_file(Path("p.safetensors"), "p")
    content.state["record"] = record
    Path("bad").write_bytes(_format.to_bytes(content))
    done = softmax("info", "bad")
    assert done.code == 1
    assert "its record is not one that a fit leaves" in done.err


def test_a_parameter_that_is_nonsense_is_shown_and_harms_nothing(softmax, model):
    content = _format.read_file(Path("p.safetensors"), "p")
    content.state["classifier"]["header"]["params"].update(tol="tiny", C={"a": [1]})
    Path("odd").write_bytes(_format.to_bytes(content))
    done = softmax("info", "odd")
    assert done.code == 0
    assert "C={'a': [1]}, tol='tiny'" in done.out
