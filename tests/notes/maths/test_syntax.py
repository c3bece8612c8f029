r"""What MathJax 3.2.2 refuses is found, and nothing else. With SOFTMAX_MATHJAX naming a folder in which
``npm install mathjax-full@3.2.2`` was run, MathJax itself is asked too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess

import pytest

from softmax.notes.maths._syntax import find_faults
from tests.notes.maths.formulas import FORMULAS

# What MathJax 3.2.2 said: None where it typesets.
KNOWN = {
    r"x^2^3": "double-superscript",
    r"x_1_2": "double-subscript",
    r"x^2'": "double-superscript",
    r"x'^2": None,
    r"x'_1'": "double-superscript",
    r"x_1'": None,
    r"{x^2}^3": None,
    r"\sum_{i}^{n}_{k}": "double-subscript",
    r"\frac{1}{2": "missing-brace",
    r"x}": "extra-brace",
    r"{ \left( x } \right)": "left-without-right",
    r"\left( x": "left-without-right",
    r"\right)": "right-without-left",
    r"\left. x \right|_0": None,
    r"\left\{ x \right\}": None,
    r"\left x \right y": "unknown-delimiter",
    r"\middle| x": "extra-middle",
    r"a & b": "misplaced-alignment",
    r"\begin{split} a & b & c \end{split}": None,
    r"\begin{split}\frac{a & b}{c}\end{split}": "misplaced-alignment",
    r"\begin{split}( a & b)\end{split}": None,
    r"\begin{equation} a & b \end{equation}": "misplaced-alignment",
    r"\begin{gather} a & b \end{gather}": None,
    r"\foo": "unknown-macro",
    r"\begin{foo} a \end{foo}": "unknown-environment",
    r"\begin{split} a \end{cases}": "mismatched-end",
    r"\begin{split} a": "missing-end",
    r"\end{split}": "extra-end",
    r"\frac{1}": "missing-argument",
    r"\frac1": "missing-argument",
    r"\frac12": None,
    r"x^": "missing-argument",
    r"x^\frac12": None,
    r"x^\log": "missing-argument",
    r"\hat\mathbb{x}": "missing-argument",
    r"\sqrt[3]{x}": None,
    r"\sqrt[3{x}": "missing-bracket",
    r"\limits x": "misplaced-limits",
    r"\sum\limits_i": None,
    r"\hline": "misplaced-hline",
    r"# x": "parameter-character",
    r"1 \over 2 \over 3": "ambiguous-over",
    r"\text{a {b} $x$}": None,
    r"\text{a": "missing-brace",
    r"a \\ b": None,
    r"\newcommand{\foo}{x} \foo": None,
    r"\mathrm{SOFTMAX}\colon \mathbb R^n \to [0,1]^n": None,
    "": None,
}


@pytest.mark.parametrize(("text", "rule"), KNOWN.items(), ids=KNOWN)
def test_known_verdicts(text, rule):
    assert [fault.rule for fault in find_faults(text)][:1] == ([] if rule is None else [rule])


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        (r"\fraq{1}{2}", r"\frac"),
        (r"\aplha", r"\alpha"),
        (r"\begin{aling} a \end{aling}", "align"),
        (r"\summ_i", r"\sum"),
    ],
)
def test_the_nearest_name_is_suggested(text, nearest):
    assert nearest in (find_faults(text)[0].suggestion or "")


def test_a_fault_says_where():
    (fault,) = find_faults(r"a + x^2^3 + b")
    assert (fault.start, fault.end) == (7, 8)
    (fault,) = find_faults(r"a + \left( x")
    assert (fault.start, fault.end) == (4, 9)


def test_macros_that_the_note_defines_are_known():
    assert find_faults(r"\E[x]", frozenset({"E"})) == []


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_the_suite_has_no_faults(formula):
    assert find_faults(formula.right) == [] == find_faults(formula.wrong)


def test_time_grows_with_the_length_alone():
    for text in (
        r"\left(" * 20_000,
        "{" * 50_000,
        r"\foo " * 2_000,
        "x_" * 20_000,
        r"\begin{split}" * 5_000,
        "a & " * 20_000,
    ):
        find_faults(text)


ORACLE = r"""
const {mathjax} = require('mathjax-full/js/mathjax.js');
const {TeX} = require('mathjax-full/js/input/tex.js');
const {liteAdaptor} = require('mathjax-full/js/adaptors/liteAdaptor.js');
const {RegisterHTMLHandler} = require('mathjax-full/js/handlers/html.js');
const {AllPackages} = require('mathjax-full/js/input/tex/AllPackages.js');
const {STATE} = require('mathjax-full/js/core/MathItem.js');
RegisterHTMLHandler(liteAdaptor());
const left = ['noerrors', 'noundefined', 'textmacros', 'physics', 'bussproofs'];
const packages = AllPackages.filter(name => !left.includes(name)).concat(['mathtools']);
const tex = new TeX({packages: [...new Set(packages)], formatError: (jax, error) => { throw error; }});
const page = mathjax.document('', {InputJax: tex});
for (const line of require('fs').readFileSync(0, 'utf8').split('\n').filter(line => line)) {
  let message = null;
  try { page.convert(JSON.parse(line), {display: true, end: STATE.CONVERT}); }
  catch (error) { message = error.message; }
  console.log(JSON.stringify(message));
}
"""
PIECES = [
    *(
        "{",
        "}",
        "^",
        "_",
        "&",
        r"\left(",
        r"\right)",
        r"\frac",
        r"\sqrt",
        r"\\",
        "'",
        r"\foo",
        "#",
        "x",
        "2",
        r"\limits",
    ),
    *(r"\begin{split}", r"\end{split}", r"\begin{cases}", r"\end{cases}", "^2", "_i", r"\hat", r"\left", r"\right"),
    *(r"\over", r"\text{a}", r"\text", "[", "]", r"\middle|", r"\big", r"\binom", r"\mathbb", r"\hline"),
]


def asked(texts):
    folder = os.environ.get("SOFTMAX_MATHJAX", "")
    if not shutil.which("node") or not os.path.isdir(os.path.join(folder, "node_modules", "mathjax-full")):
        pytest.skip("SOFTMAX_MATHJAX names no folder in which mathjax-full 3.2.2 is installed, or there is no node")
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(["node", "-e", ORACLE], input=lines, capture_output=True, text=True, cwd=folder, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_known_verdicts_are_those_of_mathjax():
    for (text, rule), said in zip(KNOWN.items(), asked(KNOWN), strict=True):
        assert (rule is None) == (said is None), (text, rule, said)


def test_mathjax_agrees_on_damaged_formulas():
    rng = random.Random(7)
    texts = []
    for _ in range(1500):
        text = " ".join(rng.choice(FORMULAS).right.split())
        for _ in range(rng.choice([1, 1, 1, 2])):
            at = rng.randrange(len(text) + 1)
            if rng.random() < 0.4:
                text = text[:at] + text[at + rng.choice([1, 1, 2, 5]) :]
            else:
                text = text[:at] + rng.choice(PIECES) + text[at:]
        texts.append(text)
    said = asked(texts)
    apart = [text for text, message in zip(texts, said, strict=True) if (message is None) != (not find_faults(text))]
    assert len(apart) <= len(texts) // 100, apart[:5]
