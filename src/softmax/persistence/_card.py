"""`model_card`: what to know of a model before using it, in Markdown; what only its author knows is left open."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from softmax._errors import OptionError

from .._files import replace_file
from ._describe import Column, Description, describe, finite, label_text, meaning

OPEN = "**To be filled in by the author:**"
MOST_CLASSES = 50
MOST_COLUMNS = 100
MOST_COEFFICIENTS = 20
MOST_CATEGORIES = 10
TAGS = ("softmax", "multinomial-logistic-regression", "tabular-classification")
NETWORK_TAGS = ("softmax", "neural-network", "tabular-classification")
# Punctuation that Markdown or HTML could read as its own.
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$!])")
# What at the start of a line begins a list, a rule or a heading.
BLOCK = re.compile(r"^(\d*)([-+=](?=.*\D)|(?<=\d)[.)](?=\s|$))")
FIRST = ("accuracy", "log_loss", "macro_f1")
WORDS = {
    "status": "status",
    "objective": "objective (nats per unit of weight)",
    "gap": "above the optimum by at most (nats)",
    "tol": "tolerance, relative to the objective",
    "grad_norm": "norm of the gradient",
    "condition": "condition of the Hessian, estimated",
    "penalty": "λ",
    "n_iter": "iterations",
    "n_passes": "passes over the data",
}

# What `calibrate` records, in words.
FOUND = {
    "n_rows": "rows that it was found on",
    "log_loss_before": "log-loss before (nats per row)",
    "log_loss_after": "log-loss after (nats per row)",
    "ece_before": "expected calibration error before",
    "ece_after": "expected calibration error after",
}


def model_card(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    license: str | None = None,
    data: str | Mapping[str, Any] | None = None,
    evaluation: Any = None,
) -> str:
    """Describe a fitted model in Markdown: what it is, how far its fit can be trusted, and how to load it.

    The card begins with YAML that the Hugging Face Hub reads. It holds the classes, the certificate with a sentence on
    what it means, parameters, figures, the largest coefficients, the temperature, limits, and lines that begin with "To
    be filled in by the author" for what no program can know. Names and labels are escaped; there is no HTML. Equal
    models give equal cards.

    Parameters
    ----------
    model : SoftmaxRegression, SoftmaxRegressionCV, nn.NeuralSoftmaxClassifier or a fitted model of tables
    path : str or path, optional
        Where to write the card too, in UTF-8; whole or not at all.
    name : str, optional
        Title of the card.
    license : str, optional
        Licence of the model, as the Hub calls it, such as "mit".
    data : str or mapping, optional
        What the model was fitted on: a paragraph, or facts by their names. A model of tables knows some itself.
    evaluation : mapping or object with a method ``summary()``, optional
        Figures by their names, such as ``{"accuracy": 0.97}``. Without it, those of the held-out rows, where a model of
        tables has some.

    Returns
    -------
    str
        The card.

    Raises
    ------
    TypeError
        If the model is of another class.
    OptionError
        If `data` or `evaluation` is none of the above.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> model = sm.SoftmaxRegression().fit(*load_iris(return_X_y=True))
    >>> card = sm.model_card(model, "README.md", data="Fisher's iris measurements", evaluation={"accuracy": 0.97})
    >>> card.splitlines()[1]
    'library_name: softmax'
    """
    described = describe(model, "softmax.model_card")
    facts = _facts(described, data)
    figures, about = _figures(described, evaluation)
    title = name if name is not None else _title(described)
    dataset = data if isinstance(data, str) else str(described.record.get("data") or "")
    sections = [
        _front_matter(described, title, license, figures, dataset),
        f"# {_text(title)}",
        _summary(described),
        _section("Intended use", _open_lines(("the question that the model answers, and for whom",
                                               "uses that it must not be put to",
                                               "groups of people or things for which it may do worse"))),
        _section("Data", _data(described, data, facts)),
        _section("Classes", _classes(described)),
        _section("Certificate" if described.activation is None else "Fit", _certificate(described)),
        _section("Parameters", _parameters(described)),
        _section("Evaluation", _evaluation(figures, about)),
        _section(*_weights(described)),
        _section("Calibration", _calibration(described)),
        _section("Limits", _limits(described)),
        _section("How to load it", _loading(described)),
    ]  # fmt: skip
    card = "\n\n".join(sections) + "\n"
    if path is not None:
        replace_file(path, card.encode("utf-8", "replace"))
    return card


def _title(described: Description) -> str:
    what = "Softmax regression" if described.activation is None else "Network with a softmax output"
    return what if described.target is None else f"{what} of {described.target}"


def _front_matter(
    described: Description, title: str, license: str | None, figures: Mapping[str, Any], dataset: str
) -> str:
    """YAML; every text of the user's stands in it as a JSON string, which YAML reads too."""
    lines = ["---", "library_name: softmax", "pipeline_tag: tabular-classification"]
    if license is not None:
        lines.append(f"license: {_quoted(license)}")
    lines += ["tags:", *(f"- {tag}" for tag in (TAGS if described.activation is None else NETWORK_TAGS))]
    numbers = {
        name: value
        for name, value in figures.items()
        if _is_number(value) and name not in ("rows", "unknown_labels") and not name.startswith("baseline")
    }
    if numbers:
        called = _quoted(" ".join(dataset.split())[:100] if dataset else "unnamed")
        lines += ["model-index:", f"- name: {_quoted(title)}", "  results:", "  - task:"]
        lines += [
            "      type: tabular-classification",
            "    dataset:",
            f"      name: {called}",
            f"      type: {called}",
        ]
        lines.append("    metrics:")
        for name, value in numbers.items():
            lines += [f"    - type: {_quoted(name)}", f"      value: {_yaml_number(value)}"]
    return "\n".join([*lines, "---"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _yaml_number(value: float) -> str:
    """A number that YAML 1.1 takes for one: an exponent needs a point before it."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _quoted(text: str) -> str:
    """A YAML string in quotation marks."""
    return f'"{"".join(map(_yaml_character, text))}"'


def _yaml_character(c: str) -> str:
    if c in '"\\':
        return f"\\{c}"
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def _summary(described: Description) -> str:
    source = f"{len(described.features):,} features"
    if described.columns is not None:
        source += f" of {len(described.columns):,} columns"
    what = "" if described.target is None else f" for the column {_text(described.target)}"
    logits, model = "W x + b", "A softmax (multinomial logistic) regression"
    if described.activation is not None:
        widths = " and ".join(f"{len(layer.intercept):,}" for layer in described.hidden)
        model = f"A neural network with hidden layers of {widths} ({described.activation})" if widths else "A network"
        logits = "W h(x) + b" if described.hidden else logits
    formula = (
        f"softmax({logits})" if described.temperature == 1.0 else f"softmax(({logits}) / {described.temperature:g})"
    )
    writer = (described.record.get("versions") or {}).get("softmax")
    fitted = f" Fitted with softmax {_text(writer)}." if writer else ""
    return (
        f"{model}{what} that gives probabilities of {len(described.classes):,} "
        f"classes from {source}: {formula}.{fitted}"
    )


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _open_lines(questions: Iterable[str]) -> str:
    return "\n".join(f"- {OPEN} {question}." for question in questions)


def _facts(described: Description, data: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """What is known of the data, by name."""
    if data is not None and not isinstance(data, str | Mapping):
        raise OptionError(f"data must be a text or a mapping of facts, got a {type(data).__name__}.")
    record = described.record
    certificate = record.get("certificate") or {}
    known = {
        "data": record.get("data"),
        "rows fitted on": certificate.get("rows"),
        "rows held out": record.get("held_out_rows") or None,
        "test data": record.get("test_data"),
        "column of weights": (record.get("settings") or {}).get("sample_weight"),
    }
    facts = {name: value for name, value in known.items() if value is not None}
    return facts | ({str(key): value for key, value in data.items()} if isinstance(data, Mapping) else {})


def _data(described: Description, data: str | Mapping[str, Any] | None, facts: Mapping[str, Any]) -> str:
    parts = [_text(data)] if isinstance(data, str) else []
    if facts:
        parts.append(_table(["", ""], [[_text(key), _value(value)] for key, value in facts.items()]))
    if data is None:
        parts.append(_open_lines(["where the rows come from, how they were chosen, and when"]))
    if described.columns is not None:
        shown = described.columns[:MOST_COLUMNS]
        rows = [[_text(column.name), column.kind, _text(column_words(column))] for column in shown]
        parts.append(_table(["column", "kind", "becomes"], rows) + _more(len(described.columns), len(shown), "columns"))
    elif described.named:
        shown_names = described.features[:MOST_COLUMNS]
        listed = ", ".join(_text(feature) for feature in shown_names)
        more = len(described.features) - len(shown_names)
        parts.append(f"Features: {listed}{f' and {more:,} more' if more else ''}.")
    return "\n\n".join(parts)


def column_words(column: Column) -> str:
    """How a column becomes features, in words."""
    if column.kind == "number":
        extra = ", and a 0/1 feature where missing" if column.missing else ""
        sign = "+" if column.mean < 0 else "−"
        return f"(value {sign} {abs(column.mean):.6g}) / {column.scale:.6g}{extra}"
    names = list(column.categories[:MOST_CATEGORIES])
    more = len(column.categories) - len(names)
    extra = f" and {more:,} more" if more else ""
    return f"0/1 features: {', '.join(names)}{extra}{', missing' if column.missing else ''}"


def _classes(described: Description) -> str:
    names = described.names
    shown = names[:MOST_CLASSES]
    if described.sizes is None:
        return _table(["class"], [[_text(name)] for name in shown]) + _more(len(names), len(shown), "classes")
    total = sum(described.sizes)
    rows = [
        [_text(name), f"{size:,}", f"{size / total:.1%}"]
        for name, size in zip(shown, described.sizes[: len(shown)], strict=True)
    ]
    return _table(["class", "rows", "share"], rows, right=2) + _more(len(names), len(shown), "classes")


def _certificate(described: Description) -> str:
    known = described.certificate
    rows = [[words, _value(known[key])] for key, words in WORDS.items() if not _is_unknown(known.get(key))]
    return f"{meaning(known)}\n\n{_table(['', ''], rows)}"


def _parameters(described: Description) -> str:
    rows = [[_text(name), _value(value)] for name, value in sorted(described.params.items())]
    rows += [["missing values", _text(described.missing)]] if described.missing else []
    return _table(["parameter", "value"], rows)


def _figures(described: Description, evaluation: Any) -> tuple[dict[str, Any], str]:
    """Figures by name, and which rows they are about."""
    if evaluation is None:
        held_out = described.record.get("held_out")
        if not held_out:
            return {}, ""
        rows, fitted = (_value(described.record.get(name)) for name in ("held_out_rows", "train_rows"))
        # The order of a record is lost in a file.
        ordered = {key: held_out[key] for key in sorted(held_out, key=lambda key: (key not in FIRST, key))}
        return ordered, f"On {rows} rows that the model of these figures, fitted on {fitted}, had not seen."
    if hasattr(evaluation, "summary"):
        evaluation = evaluation.summary()
    if not isinstance(evaluation, Mapping):
        raise OptionError(
            f"evaluation must be a mapping of figures or have a method summary(), got a {type(evaluation).__name__}."
        )
    figures = {str(key): value.item() if isinstance(value, np.generic) else value for key, value in evaluation.items()}
    return figures, "As given by the author."


def _evaluation(figures: Mapping[str, Any], about: str) -> str:
    if not figures:
        return _open_lines(["figures on rows that the model was not fitted on"])
    rows = [[_text(name.replace("_", " ")), _value(value)] for name, value in figures.items()]
    return f"{about}\n\n{_table(['figure', 'value'], rows, right=1)}"


def _weights(described: Description) -> tuple[str, str]:
    """Title and text of what the model consists of."""
    if described.activation is None:
        return "Largest coefficients", _coefficients(described)
    rows = [
        [str(i), f"{len(layer.intercept):,}", f"{layer.coef.size:,}"] for i, layer in enumerate(described.layers, 1)
    ]
    total = sum(layer.coef.size + layer.intercept.size for layer in described.layers)
    said = f"{total:,} numbers, which cannot be read one by one."
    return "Layers", f"{said}\n\n{_table(['layer', 'width', 'weights'], rows, right=2)}"


def _coefficients(described: Description) -> str:
    magnitude = np.abs(described.coef)
    flat = magnitude.ravel()
    count = min(MOST_COEFFICIENTS, flat.size)
    largest = np.flatnonzero(flat >= np.partition(flat, -count)[-count])
    order = largest[np.argsort(-flat[largest], kind="stable")][:count]
    places = [divmod(int(place), magnitude.shape[1]) for place in order if flat[place] > 0]
    if not places:
        return "All coefficients are 0."
    names = described.names
    rows = [[_text(names[k]), _text(described.features[j]), f"{described.coef[k, j]:.4g}"] for k, j in places]
    unit = "per standard deviation of a number, and per category" if described.columns is not None else "per unit of x"
    head = (
        f"The {len(places)} largest of {magnitude.size:,}, {unit}: what is added to the logit of the class. Only "
        "differences between classes matter, and with a penalty they are smaller than the data alone would have them."
    )
    return f"{head}\n\n{_table(['class', 'feature', 'coefficient'], rows, right=1)}"


def _calibration(described: Description) -> str:
    if described.temperature == 1.0 and not described.calibration:
        return "The probabilities are those of the fit: the temperature is 1."
    effect = "less" if described.temperature > 1 else "more"
    said = (
        f"The logits are divided by the temperature {described.temperature:.6g}, found on rows that the fits had not "
        f"seen; the probabilities are {effect} extreme than those of the fit."
    )
    rows = [[words, _value(described.calibration[key])] for key, words in FOUND.items() if key in described.calibration]
    return f"{said}\n\n{_table(['', ''], rows)}" if rows else said


def _limits(described: Description) -> str:
    linear = described.activation is None
    lines = [
        "Every row gets one of the classes above, also a row that belongs to none of them.",
        ("The logits are linear in the features: far" if linear else "Far")
        + " from the data of the fit, probabilities near 0 and 1 mean little.",
        f"{'Coefficients describe' if linear else 'The weights describe'} the data; they are no effects of causes.",
    ]
    if described.certificate["status"] in ("not converged", "separated"):
        lines.append("The fit has no certified optimum, see above.")
    if described.columns is not None:
        lines.append("A category that the fit has not seen counts as none of them.")
        policy = {
            "error": "A row with a missing value is refused.",
            "drop": "A row with a missing value gets no prediction.",
        }
        lines.append(policy.get(described.missing or "", "A missing number counts as the mean of its column."))
    return "\n".join(f"- {line}" for line in [*lines]) + "\n" + _open_lines(["known failures and biases"])


def _loading(described: Description) -> str:
    rows = "rows.csv" if described.columns is not None else "X"
    argument = f'"{rows}"' if described.columns is not None else rows
    what = "a file or data frame with the columns above" if described.columns is not None else (
        f"an array of {len(described.features):,} columns"
    )  # fmt: skip
    return (
        "```shell\npip install softmax\n```\n\n"
        "```python\nimport softmax as sm\n\n"
        'model = sm.load("model.safetensors")  # runs nothing that the file holds\n'
        f"model.predict_proba({argument})  # {what}\n```\n\n"
        "Written with " + ", ".join(f"{name} {_text(v)}" for name, v in sorted(described.versions.items())) + "."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0) -> str:
    """A table; the last `right` columns stand to the right."""
    marks = ["---"] * (len(head) - right) + ["---:"] * right
    lines = [head, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _more(total: int, shown: int, what: str) -> str:
    return f"\n\n… and {total - shown:,} more {what}." if total > shown else ""


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _value(value: Any) -> str:
    """A value of any kind, in one short line."""
    if isinstance(value, np.ndarray):
        return _text(f"array of shape {value.shape}" if value.size > 8 else str(value.tolist()))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(finite(value), ensure_ascii=False)
    return _text(text if len(text) <= 200 else text[:199] + "…")


def _text(text: str) -> str:
    """Text of a user's as Markdown that shows just that, in one line."""
    shown = "".join(c if c.isprintable() else " " for c in label_text(text)).strip()
    escaped = SPECIAL.sub(r"\\\1", shown)
    return BLOCK.sub(r"\1\\\2", escaped) or "(empty)"
