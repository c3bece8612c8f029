"""The drawings: equal bytes for equal figures, ids of their own, colours of the page, names as text."""

import functools
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from softmax.report import _plots
from softmax.report._content import Choice, Coefficient, reliabilities

from .test_html import NASTY

HISTORY = [{"passes": 2 * i, "gap": 10.0 ** (2 - 2 * i), "objective": 1 + 0.1**i} for i in range(6)]


def a_confusion(n):
    rng = np.random.default_rng(0)
    return rng.integers(0, 5, (n, n)) + np.diag(np.full(n, 500))


@functools.cache
def drawings(names=("a", "b", "c")):
    rng = np.random.default_rng(1)
    log_p = np.log(rng.dirichlet(np.ones(3), 200))
    codes = rng.integers(0, 3, 200)
    Cs = np.logspace(-2, 2, 5)
    some = [Coefficient(name, name, (-1) ** i / (i + 1)) for i, name in enumerate(names)]
    return {
        "convergence": _plots.convergence(HISTORY, 1e-6, "certified gap"),
        "confusion": _plots.heat_map(a_confusion(len(names)), list(names)),
        "reliability": _plots.reliability(reliabilities(log_p, codes, 1.5)),
        "coefficients": _plots.coefficients(some),
        "path": _plots.path_over_c(Choice(Cs, -1 / Cs, Cs / 10, 1.0, 10.0, "score", "rule")),
    }


def test_equal_figures_give_equal_bytes_whatever_the_settings_of_the_user():
    import matplotlib

    first = drawings()
    with matplotlib.rc_context({"lines.linewidth": 9, "font.family": "monospace", "svg.fonttype": "path"}):
        assert drawings.__wrapped__() == first
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert str(first["path"]) != str(
        _plots.path_over_c(Choice(np.ones(2), np.ones(2), np.ones(2), 1.0, 1.0, "score", ""))
    )


def test_the_ids_of_a_page_are_unique_and_every_reference_has_its_target():
    text = "".join(map(str, drawings().values()))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) > 50 and len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    labels = [name for names in re.findall(r'aria-labelledby="([^"]+)"', text) for name in names.split()]
    targets = {one or other for one, other in references} | set(labels)
    assert targets <= set(ids)


@pytest.mark.parametrize("key", ["convergence", "confusion", "reliability", "coefficients", "path"])
def test_a_drawing_is_an_image_with_words_and_the_colours_of_the_page(key):
    text = str(drawings()[key])
    assert text.startswith('<svg viewBox="0 0 ') and text.endswith("</svg>")
    assert 'role="img"' in text and re.search(r"<title id=\S+>[^<]{8,}</title><desc id=\S+>[^<]{20,}</desc>", text)
    assert "var(--ink)" in text and "<text" in text
    for banned in ("http", "xlink", "<style", "<metadata", "<!--", "<?xml", "DOCTYPE", "#0a0b0", "font-family"):
        assert banned not in text


@pytest.mark.parametrize("n", [2, 3, 10, 26, 150])
def test_a_heat_map_of_any_size(n):
    text = str(_plots.heat_map(a_confusion(n), [f"class {i}" for i in range(n)]))
    assert len(text) < 200_000
    assert ("class 1" in text) == (n <= _plots.MOST_NAMES)
    assert text.count("<image") == 1
    counts = sum(f">{count}<" in text for count in range(500, 505))
    assert counts == 0 if n > _plots.MOST_COUNTS else counts > 0


def test_names_that_look_like_markup_or_formulas_are_text():
    text = str(drawings((*NASTY, "x" * 10_000))["confusion"]) + str(drawings(tuple(NASTY))["coefficients"])
    assert "<script" not in text and "onerror=alert(1)>" not in text
    assert "$x_1^2$ \\al" in text  # cut, and no formula
    assert "xxxxxxxxxxx…" in text and "x" * 100 not in text
    text.encode()


def test_a_confusion_without_rows():
    confusion = np.zeros((3, 3), dtype=int)
    confusion[0, 1] = 2
    assert "0 of 2 rows lie on the diagonal" in str(_plots.heat_map(confusion, ["a", "b", "c"]))


def test_a_history_without_finite_gaps():
    history = [{"passes": i, "gap": np.inf, "objective": 1.0} for i in range(3)]
    assert ">certified gap<" not in str(_plots.convergence(history, 0.0, "certified gap"))
    drawing = str(_plots.convergence(HISTORY, 1e-6, None))
    assert "no gap is defined" in drawing and "asked for" not in drawing and "above the last one" in drawing
