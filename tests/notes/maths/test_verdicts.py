r"""What is judged and what is not: assumptions, domains, conditions, definitions, ambiguity."""

from __future__ import annotations

import pytest

from tests.notes.maths.helpers import check, report, verdicts


@pytest.mark.parametrize(
    ("display", "expected"),
    [
        (r"\frac12 + \frac13 = \frac56", "proved"),
        (r"(a + b)^2 = a^2 + 2ab + b^2", "proved"),
        (r"\frac{a}{b} + \frac{c}{d} = \frac{ad + bc}{bd}", "proved"),
        (r"\sigma(x)(1 - \sigma(x)) = \sigma(x) - \sigma(x)^2", "proved"),
        (r"e^{a + b} = e^a e^b", "consistent"),
        (r"x \cdot \log y = \log y^x", "consistent"),
        (r"e^x \geq 1 + x", "not refuted"),
        (r"e^x \leq 1 + x", "refuted"),
        (r"\log(1 + x) \approx x", "not understood"),
        (r"\pi \approx 3.14", "consistent"),
        (r"\pi \approx 3.15", "refuted"),
        (r"-0.09 \cdot 0.2447 \approx -0.0220", "consistent"),
        (r"\lim_{n \to \infty} a_n = 0", "not understood"),
        (r"\hat{x} \propto y", None),
    ],
)
def test_verdict(display, expected):
    assert verdicts(display) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "display",
    [
        r"a^2 + b^2 = c^2",
        r"X^\top X w = X^\top y",
        r"\nabla f(w) = 0",
        r"\frac{\partial L}{\partial w_i} = p_i",
        r"p + q = 1",
        r"w = w - \eta g",
        r"\frac{dL}{dx} = \frac{dL}{dy} \frac{dy}{dx}",
        r"a_1 + \dots + a_n = s",
        r"x^2 = 4 \implies x = 2",
        r"x^2 \overset{!}{=} 0",
    ],
)
def test_an_equation_or_an_unknown_name_is_not_refuted(display):
    assert set(verdicts(display)) <= {"not understood", "definition"}


def test_an_assumption_is_told():
    (step,) = check(r"\sum_i p_i \log \frac{p_i}{q_i} \ge 0").steps
    assert step.verdict == "not refuted" and "probability mass function" in step.data["assumed"]


def test_a_declared_sum_is_used():
    display = r"\sum_j (q_j - p_i q_j) = 1 - p_i"
    assert verdicts(display, r"For $\sum_j q_j = 1$:") == ["consistent"]


def test_a_declared_domain_is_used():
    assert verdicts(r"\sqrt{x^2} = x") == ["refuted"]
    assert verdicts(r"\sqrt{x^2} = x", "For $x > 0$ we have") == ["consistent"]


def test_words_around_a_name_declare():
    display = r"\operatorname{tr}(A^\top B) = \operatorname{tr}(A B)"
    assert verdicts(display, r"Let $A \in \mathbb{R}^{n \times n}$ be given.") == ["refuted"]
    assert verdicts(display, r"Let $A$ be symmetric.") == ["consistent"]


def test_conditions_behind_a_step_restrict_it():
    assert verdicts(r"\delta_{ij} + 1 = 1 \quad \text{for } i \neq j") == ["consistent"]
    assert verdicts(r"|x| = x, \quad x > 0") == ["consistent"]


def test_an_independent_sum_needs_the_word():
    display = r"\mathrm{Var}(X + Y) = \mathrm{Var}(X) + \mathrm{Var}(Y)"
    assert verdicts(display) == ["not understood"]
    assert verdicts(display.replace("Y) =", "Y) = 2")) == ["refuted"]
    assert verdicts(display, "For independent $X$ and $Y$") == ["consistent"]


def test_a_definition_is_learnt_and_used_before_and_behind():
    assert verdicts(r"g_i = 2 u_i", r"$$u_i = x_i^2 \qquad g_i = 2 x_i^2$$") in (["consistent"], ["definition"])
    text = "$$q_i^2 = \\frac{x_i^2}{4}$$\n\nwith\n\n$$q_i = \\frac{x_i}{2}$$\n"
    assert [step.seen.verdict for step in report(text).steps] == ["consistent", "definition"]


def test_a_wrong_restatement_in_the_same_section_is_refuted():
    text = "# a\n$$L = \\sum_i x_i^2$$\n\n$$L = \\sum_i x_i^3$$\n"
    assert [step.seen.verdict for step in report(text).steps] == ["definition", "refuted"]
    other = "# a\n$$L = \\sum_i x_i^2$$\n# b\n$$L = \\sum_i x_i^3$$\n"
    assert [step.seen.verdict for step in report(other).steps] == ["definition", "definition"]


def test_a_second_reading_is_tried_and_named():
    (step,) = check(r"\log a b = \log a + \log b").steps
    assert step.verdict == "consistent" and "goes on" in step.data["read"]
    assert verdicts(r"\log a \cdot b = \log a + \log b") == ["refuted"]


def test_all_pairs_of_indices_are_tried_also_the_equal_ones():
    assert verdicts(r"\frac{\partial x_i}{\partial x_j} = 0 \cdot x_i") == ["refuted"]
    (step,) = check(r"\delta_{ij} x_i = \delta_{ij} x_j").steps
    assert step.verdict == "consistent" and step.data["points"] == 8 * (9 + 16 + 25)


def test_sizes_that_differ_are_told_apart():
    right = r"\frac{1}{n} \sum_{i=1}^n \sum_{k=1}^K 1 = K"
    assert verdicts(right) == ["consistent"]
    assert verdicts(right.replace("= K", "= n")) == ["refuted"]


@pytest.mark.parametrize(
    ("display", "part"),
    [
        (r"\log(ab = \log a + \log b", "a closing ) is missing"),
        (r"a + = b", "an operand is missing after +"),
        (r"\frac{}{2} = b", "the numerator of the fraction is missing"),
        (r"\frac{\partial f(x)}{x} = f'(x)", "the ∂ below the bar"),
        (r"\frac{\partial^2 f(x)}{\partial x} = f''(x)", "a derivative of order 2 above the bar and 1 below"),
        (r"\sum_i = a", "there is nothing under"),
        (r"\exp = a", "lacks its argument"),
        (r"\int_0^1 x = \frac12", "lacks its differential"),
    ],
)
def test_what_is_missing_is_malformed_and_never_false(display, part):
    result = check(display)
    assert any(item.verdict == "malformed" and part in item.text for item in result.found)
    assert not any(item.verdict == "refuted" for item in result.found)


def test_inline_formulas_are_told_only_where_a_computed_equation_is_refuted():
    assert report("if $10\\,p > 1 - p$ and $n = 3$, so $x = 2$").findings == []
    (finding,) = report(r"the sum $\sum_{k=1}^n k = \frac{n(n-1)}{2}$ is known").findings
    assert finding.found.verdict == "refuted"


def test_several_equations_in_one_display():
    display = r"\begin{gather} \sin^2 x + \cos^2 x = 1 \\ \tanh(-x) = \tanh x \end{gather}"
    assert verdicts(display) == ["consistent", "refuted"]
    aligned = r"\begin{align} a + a &= 2a & \sin(-b) &= \sin b \\ &= a \cdot 2 & &= -\sin(-b) \end{align}"
    assert verdicts(aligned) == ["proved", "proved", "refuted", "consistent"]


def test_a_row_that_goes_on_with_an_operator_belongs_to_the_one_before():
    display = r"\begin{aligned} (a + b)^2 &= a^2 + 2ab \\ &\quad + b^2 \end{aligned}"
    assert verdicts(display) == ["proved"]


def test_a_formula_in_another_file_counts_as_the_same_place_only_if_it_means_the_same():
    from softmax.notes.maths import check_notes
    from tests.notes.maths.helpers import note_of

    wrong = "$$\\sin^2 x = 1 + \\cos^2 x$$"
    two = check_notes([note_of(wrong, "a.md"), note_of(wrong, "b.md")])
    assert [place.path for place in two.findings[0].places] == ["a.md", "b.md"]
    apart = check_notes([note_of(f"$$x = y^2$$\n{wrong}", "a.md"), note_of(wrong, "b.md")])
    assert sorted(len(finding.places) for finding in apart.findings) == [1, 1]


def test_clozes_do_not_hide_a_formula():
    text = "$$\n\\frac{d}{dx} x^3 = {{c1::3 x^2::the rule}}\n$$\n\n$$\n\\frac{d}{dx} x^3 = {{c2::2 x^2}}\n$$\n"
    found = report(text)
    assert [step.seen.verdict for step in found.steps] == ["consistent", "refuted"]
    assert found.findings[0].places[0].line == 6


def test_many_formulas_over_processes_give_the_same_as_one_after_the_other(monkeypatch):
    from softmax.notes.maths import _workers

    text = "\n\n".join(f"$$\n\\frac{{d}}{{dx}} x^{n} = {n} x^{{{n - 1 - n % 2}}}\n$$" for n in range(3, 9))
    alone = report(text)
    monkeypatch.setattr(_workers, "FEWEST", 4)
    monkeypatch.setattr(_workers, "BATCH", 2)
    monkeypatch.setenv("SOFTMAX_NUM_THREADS", "2")
    together = report(text)
    assert together.findings == alone.findings and together.steps == alone.steps
    assert len(alone.findings) == 3
