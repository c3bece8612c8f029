"""`softmax fit --hidden`: a network from a table, and every other command on what it saves."""

from __future__ import annotations

import json

import numpy as np
import pytest

import softmax as sm

pytest.importorskip("torch")

OPTIONS = ("--hidden", "8,4", "--learning-rate", "0.01", "--max-iter", "20")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from softmax.cli import main

    place = tmp_path_factory.mktemp("network") / "iris.safetensors"
    assert main(["fit", "iris", *OPTIONS, "-q", "-o", str(place)]) == 0
    return str(place)


def test_fit_says_what_it_reached(softmax, tmp_path):
    done = softmax("fit", "iris", *OPTIONS, "-o", str(tmp_path / "m.safetensors"))
    assert done.code == 0
    text = " ".join(done.out.split())
    assert "Fit fitted on 120 rows 150 rows, saved" in text
    assert "ended by max_epochs max_epochs" in text
    assert "epochs 20 20" in text
    assert "there is no certificate" in text
    assert "Certificate" not in done.out and "gap" not in done.out
    assert "accuracy" in done.out


def test_fit_as_json(softmax, tmp_path):
    done = softmax("fit", "iris", *OPTIONS, "--json", "-o", str(tmp_path / "m.safetensors"))
    content = json.loads(done.out)
    assert content["settings"]["hidden"] == [8, 4]
    assert content["certificate"]["gap"] is None
    assert content["certificate"]["status"] == "max_epochs"
    assert content["held_out"]["accuracy"] > 0.5


def test_a_network_holds_rows_out_where_there_are_enough(softmax, tmp_path):
    place = tmp_path / "m.safetensors"
    done = softmax("fit", "digits", "--hidden", "16", "--max-iter", "3", "--no-refit", "-o", str(place))
    assert done.code == 0
    classifier = sm.load(place).classifier
    assert classifier.early_stopping
    assert classifier.validation_loss_ > 0


def test_the_strength_of_the_penalty(softmax, tmp_path):
    place = tmp_path / "m.safetensors"
    assert softmax("fit", "iris", *OPTIONS, "-C", "0.25", "--class-weight", "balanced", "-o", str(place)).code == 0
    classifier = sm.load(place).classifier
    assert classifier.alpha == 4.0
    assert classifier.class_weight == "balanced"


def test_a_network_is_calibrated(softmax, tmp_path):
    place = tmp_path / "m.safetensors"
    done = softmax("fit", "iris", *OPTIONS, "--calibrate", "--no-refit", "-o", str(place))
    assert done.code == 0
    classifier = sm.load(place).classifier
    assert classifier.temperature_ == classifier.calibration_["temperature"] != 1.0
    assert "log-loss of rows held out in 5 folds" in " ".join(done.out.split())


def test_a_fit_repeats_bit_for_bit(softmax, saved, tmp_path):
    place = tmp_path / "iris.safetensors"
    assert softmax("fit", "iris", *OPTIONS, "-o", str(place)).code == 0
    with open(saved, "rb") as file:
        assert file.read() == place.read_bytes()


def test_the_other_commands_take_the_model(softmax, saved, tmp_path):
    pytest.importorskip("onnx")
    assert softmax("predict", saved, "iris", "-o", str(tmp_path / "out.csv")).code == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "label,p(setosa),p(versicolor),p(virginica)"
    assert np.sum([float(part) for part in lines[1].split(",")[1:]]) == pytest.approx(1.0)
    scores = json.loads(softmax("evaluate", saved, "iris", "--json").out)
    assert scores["accuracy"] > 0.5
    info = softmax("info", saved).out
    assert "network with a softmax output of 'species'" in " ".join(info.split())
    assert "Hidden layers: 8, 4 (relu)" in info
    assert "there is no certificate" in " ".join(info.split())
    assert json.loads(softmax("info", saved, "--json").out)["model"]["activation"] == "relu"
    for name in ("m.onnx", "README.md", "m.json"):
        assert softmax("export", saved, "-o", str(tmp_path / name)).code == 0
    assert "## Fit" in (tmp_path / "README.md").read_text()
    assert len(json.loads((tmp_path / "m.json").read_text())["hidden"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--hidden", "x"), "is no list of widths"),
        (("--hidden", "16,"), "is no list of widths"),
        (("--hidden", "16,0"), "is no list of widths"),
        (("--hidden", "-3"), "is no list of widths"),
        (
            ("--hidden", "4", "--solver", "newton"),
            "--hidden exclude each other: a network is fitted by Adam",
        ),
        (("--hidden", "4", "--penalty", "l1"), "the penalty of a network is L2"),
        (("--hidden", "4", "--tol", "1e-3"), "no certified gap"),
        (("--hidden", "4", "--report", "r.html"), "see softmax evaluate"),
        (("--hidden", "4", "--inference"), "no standard errors"),
        (("--hidden", "4", "--no-intercept"), "--no-intercept and --hidden exclude each other."),
        (("--learning-rate", "0.1"), "--learning-rate is about a network; pass --hidden too"),
        (("--device", "cpu"), "--device is about a network; pass --hidden too"),
    ],
    ids=" ".join,
)
def test_options_that_mean_nothing_are_refused(softmax, arguments, words):
    done = softmax("fit", "iris", *arguments)
    assert done.code == 2
    assert words in done.err


def test_a_device_that_is_not_there(softmax, tmp_path):
    done = softmax("fit", "iris", "--hidden", "4", "--device", "abacus", "-o", str(tmp_path / "m.safetensors"))
    assert done.code == 1
    assert "device must be 'auto' or one that PyTorch has here, got 'abacus'" in done.err
    assert not (tmp_path / "m.safetensors").exists()


def test_a_report_from_python_is_refused(saved, tmp_path):
    with pytest.raises(sm.OptionError, match="a network has neither"):
        sm.write_report(sm.load(saved), tmp_path / "r.html")
