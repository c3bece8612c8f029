"""A model card says what the model is, is read by Markdown and YAML alike, and lets no name become markup."""

import json
import os
import re

import numpy as np
import pytest

import softmax as sm
from softmax.persistence import model_card
from softmax.persistence._card import _quoted, _text
from softmax.persistence._describe import meaning
from softmax.persistence._plain import to_json

from .test_onnx import holed_frame, model_of, penguin_frame, table_model

NASTY = [
    "<script>alert(1)</script>",
    "a | b",
    "*bold* _it_ `code` [x](http://e.org) ![i](j)",
    "# heading",
    "line\nbreak\r\n\ttab",
    "&lt;b&gt; &amp;",
    "\\",
    "---",
    "1. one",
    "- item",
    "=",
    "",
    "~~gone~~ $x^2$",
    "日本 😀 \u202e\u0085 ü",
    "<!-- hidden -->",
]


def parsed(card):
    """The tokens of a card's Markdown, without its YAML."""
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    body = card.split("\n---\n", 1)[1]
    return markdown.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body)


def shown(card):
    """Every text of the card as a reader sees it, one per cell, item or paragraph."""
    return ["".join(t.content for t in token.children) for token in parsed(card) if token.type == "inline"]


def kinds(card):
    tokens = parsed(card)
    return {token.type for token in tokens} | {c.type for token in tokens for c in token.children or []}


def test_a_card_of_a_classifier(tmp_path):
    model, _ = model_of(np.array(["a", "b", "c"]))
    model.feature_names_in_ = np.array(["α", "two", "c d", "e"], dtype=object)
    card = model_card(
        model,
        tmp_path / "README.md",
        name="Letters",
        license="mit",
        data="Made up.",
        evaluation={"accuracy": np.float64(0.875), "log_loss": 1e-7, "note": "small"},
    )
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card
    texts = shown(card)
    headings = [t.content for i, t in enumerate(parsed(card)) if parsed(card)[i - 1].type == "heading_open"]
    assert headings == [
        "Letters", "Intended use", "Data", "Classes", "Certificate", "Parameters", "Evaluation",
        "Largest coefficients", "Calibration", "Limits", "How to load it",
    ]  # fmt: skip
    assert "Made up." in texts
    assert texts[texts.index("accuracy") + 1] == "0.875"
    assert texts[texts.index("status") + 1] == "certified"
    assert texts[texts.index("above the optimum by at most (nats)") + 1] == f"{model.gap_:.6g}"
    assert texts[texts.index("C") + 1] == "1"
    assert "Features: α, two, c d, e." in texts
    k, j = np.unravel_index(np.argmax(np.abs(model.coef_)), model.coef_.shape)
    first = texts.index("coefficient") + 1
    assert texts[first : first + 3] == ["abc"[k], ["α", "two", "c d", "e"][j], f"{model.coef_[k, j]:.4g}"]
    assert "Calibration" in texts
    assert "The probabilities are those of the fit: the temperature is 1." in texts
    assert card.count("To be filled in by the author:") == 4
    assert 'sm.load("model.safetensors")' in card


def test_a_card_of_a_table_model_knows_its_data():
    card = model_card(table_model(holed_frame(), missing="indicator", C=2.0))
    texts = shown(card)
    assert texts[texts.index("rows fitted on") + 1] == "120"
    assert texts[texts.index("rows held out") + 1] == "24"
    place = texts.index("bill (mm)")
    assert texts[place + 1] == "number"
    assert re.fullmatch(r"\(value − [\d.]+\) / [\d.]+, and a 0/1 feature where missing", texts[place + 2])
    place = texts.index("sunny")
    assert texts[place + 1 : place + 3] == ["bool", "0/1 features: false, true, missing"]
    place = texts.index("Gentoo, large")
    assert texts[place + 1 : place + 3] == ["40", "33.3%"]
    assert texts[texts.index("missing values") + 1] == "indicator"
    assert "On 24 rows that the model of these figures, fitted on 96, had not seen." in texts
    assert re.fullmatch(r"0\.\d+|1", texts[texts.index("accuracy") + 1])
    assert "A missing number counts as the mean of its column." in texts
    assert card.count("To be filled in by the author:") == 5


def test_names_stay_text():
    model, _ = model_of(np.array(NASTY[: len(NASTY)], dtype=object), d=len(NASTY))
    model.feature_names_in_ = np.array([f"{name}!" for name in NASTY], dtype=object)
    card = model_card(
        model, name="<b>*x*</b>", data="<img src=x onerror=alert(1)> | & # \n\n- y", evaluation={"<i>": 0.5}
    )
    found = kinds(card)
    assert not [kind for kind in found if kind.startswith("html")]
    assert not found & {"em_open", "link_open", "image", "code_inline", "s_open", "hr"}
    texts = shown(card)
    start = texts.index("class") + 1
    for i, name in enumerate(NASTY):
        visible = "".join(c if c.isprintable() else " " for c in name).strip()
        assert texts[start + i] == (visible or "(empty)")
    assert texts[0] == "<b>*x*</b>"
    assert "<img src=x onerror=alert(1)> | & #   - y" in texts


@pytest.mark.parametrize("text", NASTY)
def test_text_is_shown_as_it_is(text):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    tokens = markdown.parse(_text(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize("text", [*NASTY, "null", "yes", "1e3", '"', "'", ": x", "\x00\x07\x1b\x7f\x9f\u2028\ufeff"])
def test_yaml_reads_what_was_meant(text):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    assert yaml.safe_load(f"a: {_quoted(text)}\n") == {"a": text}


def front_matter(card):
    return card.split("---\n", 2)[1]


def test_the_front_matter():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    model, _ = model_of(np.arange(2))
    figures = {
        "accuracy": 1,
        "log_loss": 1e-7,
        "big": 1e20,
        "nan": np.nan,
        "rows": 5,
        "baseline_accuracy": 0.5,
        "t": True,
    }
    found = yaml.safe_load(front_matter(model_card(model, name='a "b": c', license="apache-2.0", evaluation=figures)))
    assert found["library_name"] == "softmax"
    assert found["license"] == "apache-2.0"
    assert "multinomial-logistic-regression" in found["tags"]
    (index,) = found["model-index"]
    assert index["name"] == 'a "b": c'
    metrics = {metric["type"]: metric["value"] for metric in index["results"][0]["metrics"]}
    assert metrics == {"accuracy": 1, "log_loss": 1e-7, "big": 1e20}
    assert list(yaml.safe_load(front_matter(model_card(model)))) == ["library_name", "pipeline_tag", "tags"]


def test_the_lines_of_the_front_matter():
    lines = model_card(model_of(np.arange(2))[0], evaluation={"f1": 1e-7}).splitlines()
    assert lines[:2] == ["---", "library_name: softmax"]
    assert lines.count("---") == 2
    assert "      value: 1.0e-07" in lines


def test_many_classes_features_and_columns_are_cut():
    model, _ = model_of(np.array([f"class {i}" for i in range(70)]), d=3)
    model.coef_ = np.random.default_rng(0).standard_normal((70, 300))
    model.feature_names_in_ = np.array([f"f{j}" for j in range(300)], dtype=object)
    model.n_features_in_ = 300
    card = model_card(model)
    assert "… and 20 more classes." in card
    assert "and 200 more." in card
    assert "The 20 largest of 21,000" in card
    assert len(card) < 10_000


def test_a_temperature_is_told():
    model, _ = model_of(np.arange(2))
    model.temperature_ = 2.5
    card = model_card(model)
    assert "softmax\\(" not in card
    assert "softmax((W x + b) / 2.5)" in card
    assert "the temperature 2.5" in card
    assert "less extreme" in card
    model.calibration_ = {
        "temperature": 2.5,
        "log_loss_before": 0.5,
        "log_loss_after": 0.375,
        "n_rows": 1234,
        "folds": 5,
    }
    texts = shown(model_card(model))
    assert texts[texts.index("rows that it was found on") + 1] == "1,234"
    assert texts[texts.index("log-loss after (nats per row)") + 1] == "0.375"
    model.temperature_ = 0.5
    assert "more extreme" in model_card(model)


def test_no_coefficients_no_table():
    model, _ = model_of(np.arange(2))
    model.coef_ = np.zeros_like(model.coef_)
    assert "All coefficients are 0." in model_card(model)


@pytest.mark.parametrize(
    ("status", "gap", "words"),
    [
        ("certified", 1e-9, "by more than 1e-09 nats (2e-09 of the objective); this is proven"),
        ("certified", 0.0, "by more than 0 nats (0 of the objective); this is proven"),
        ("estimated", 1e-9, "by an estimate, not by a proof"),
        ("not converged", 0.25, "may be 0.25 nats (0.5 of the objective) above the lowest; asked for was 1e-06"),
        ("not converged", np.inf, "nothing is known"),
        ("separated", np.nan, "no finite optimum exists"),
    ],
)
def test_what_a_certificate_means(status, gap, words):
    assert words in meaning({"status": status, "objective": 0.5, "gap": gap, "tol": 1e-6})
    model, _ = model_of(np.arange(2))
    model.status_, model.gap_, model.objective_ = status, gap, 0.5
    card = model_card(model)
    assert re.sub(r"[\\]", "", card).count(words) == 1
    assert ("no certified optimum" in card) == (status in ("separated", "not converged"))


def test_equal_models_give_equal_cards(tmp_path):
    model = table_model(penguin_frame())
    sm.save(model, tmp_path / "m")
    assert model_card(sm.load(tmp_path / "m")) == model_card(model)


def test_figures_of_an_evaluation():
    frame = penguin_frame()
    model = table_model(frame)
    from softmax import tables

    scores, _ = model.evaluate(tables.as_table(frame))
    texts = shown(model_card(model, evaluation=scores))
    assert texts[texts.index("accuracy") + 1] == f"{scores.accuracy:.6g}"
    assert "As given by the author." in texts


def test_what_is_refused(tmp_path):
    model, _ = model_of(np.arange(2))
    with pytest.raises(sm.OptionError, match="data must be a text or a mapping of facts, got a int"):
        model_card(model, data=3)
    with pytest.raises(sm.OptionError, match="evaluation must be a mapping of figures"):
        model_card(model, evaluation=[0.5])
    with pytest.raises(TypeError, match=r"softmax\.model_card takes a fitted"):
        model_card("model")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        model_card(model, tmp_path / "absent" / "README.md")
    assert os.listdir(tmp_path) == []


# Plain JSON


def test_plain_json_is_enough_to_predict():
    model, X = model_of(np.array(["a", "ä", "c"]))
    model.temperature_ = 1.5
    found = json.loads(to_json(model))
    z = (X @ np.array(found["coefficients"]).T + found["intercepts"]) / found["temperature"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(p / p.sum(axis=1, keepdims=True), model.predict_proba(X), atol=1e-14)
    assert found["classes"] == ["a", "ä", "c"]
    assert found["columns"] is None
    np.testing.assert_array_equal(np.array(found["coefficients"]), model.coef_)


def test_plain_json_of_a_table_is_enough_to_encode():
    frame = holed_frame()
    model = table_model(frame, missing="indicator")
    found = json.loads(to_json(model))
    rows = []
    for _, row in frame.iterrows():
        x = []
        for column in found["columns"]:
            value = row[column["name"]]
            absent = value is None or value != value
            if column["kind"] == "number":
                x.append(0.0 if absent else (value - column["mean"]) / column["scale"])
            else:
                text = None if absent else value.lower() if column["kind"] == "bool" else value
                x += [float(text == category) for category in column["categories"]]
            if column["missing"]:
                x.append(float(absent))
        rows.append(x)
    z = np.array(rows) @ np.array(found["coefficients"]).T + found["intercepts"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(p / p.sum(axis=1, keepdims=True), model.predict_proba(frame), atol=1e-13)


def test_plain_json_holds_no_nan_and_every_label():
    model, _ = model_of(np.array([b"a", b"b"]))
    model.gap_, model.C = np.inf, np.inf
    model.penalty_weights, model.class_weight = np.array([1.0, np.nan, 2.0, 3.0]), {b"a": 1.0, (1, 2): 2.0}
    found = json.loads(to_json(model), parse_constant=lambda name: pytest.fail(name))
    assert found["classes"] == ["b'a'", "b'b'"]
    assert found["certificate"]["gap"] is None
    assert found["parameters"]["penalty_weights"] == [1.0, None, 2.0, 3.0]
