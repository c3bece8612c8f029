"""The table of an inference as text, 80 columns wide."""

from math import exp, floor, isfinite, log
from typing import Any

from ._inference_result import SoftmaxInference, log_chi2_sf

WIDTH = 80
NAME = 20
COVARIANCES = {
    "classical": "inverse Fisher information",
    "HC0": "robust sandwich (HC0)",
    "HC1": "robust sandwich (HC1)",
}


def text_of(result: SoftmaxInference, level: float) -> str:
    """The summary; `level` is the coverage of its intervals."""
    kind = COVARIANCES.get(result.covariance, f"robust sandwich, {result.n_clusters} clusters")
    title = "Softmax regression: inference"
    lines = [f"{title}{'covariance: ' + kind:>{WIDTH - len(title)}}", "=" * WIDTH, *_head(result)]
    bounds = result.conf_int(level)
    tail = (1.0 - level) / 2.0
    for i, label in enumerate(result.row_classes):
        against = "symmetric" if result.reference is None else f"against {result.reference}"
        lines += ["-" * WIDTH, shortened(f"Class {label}, {against}", WIDTH)]
        lines.append(
            f"{'':{NAME}}{'coef':>11}{'std err':>10}{'z':>9}{'P>|z|':>8}{f'[{tail:.3g}':>11}{f'{1 - tail:.3g}]':>11}"
        )
        for j, name in enumerate(result.feature_names):
            lines.append(
                f"{shortened(name, NAME - 1):{NAME}}{number(result.params[i, j]):>11}{number(result.bse[i, j]):>10}"
                f"{z_text(result.zvalues[i, j]):>9}{p_text(result.log_pvalues[i, j]):>8}"
                f"{number(bounds[i, j, 0]):>11}{number(bounds[i, j, 1]):>11}"
            )
    lines += [*_joint(result), "=" * WIDTH, *_notes(result)]
    return "\n".join(line.rstrip() for line in lines)


def _head(result: SoftmaxInference) -> list[str]:
    """Facts of the whole fit, in two columns."""
    measures = result.pseudo_r2
    ratio = f"{result.llr:.5g} on {result.df_model} df"
    left = [
        ("Rows", f"{result.n_obs}"),
        ("Sum of weights", number(result.sum_weights)),
        ("Effective rows", number(result.n_effective)),
        ("Classes", f"{len(result.classes)}"),
        ("Parameters", f"{result.n_parameters}"),
        ("Condition number", f"{result.condition_number:.2g}"),
        ("Reference", "symmetric" if result.reference is None else shortened(result.reference, 12)),
    ]
    right = [
        ("Log-likelihood", f"{result.llf:.8g}"),
        ("  without features", f"{result.llnull:.8g}"),
        ("Likelihood ratio", ratio),
        ("  its p-value", "nan" if result.penalised else p_text(log_chi2_sf(result.llr, result.df_model))),
        ("AIC, BIC", f"{result.aic:.6g}, {result.bic:.6g}"),
        ("Pseudo-R² McFadden", f"{measures['mcfadden']:.4f} (adj. {measures['adjusted']:.4f})"),
        ("  Cox–Snell, Nagelk.", f"{measures['cox_snell']:.4f}, {measures['nagelkerke']:.4f}"),
    ]
    return [f"{a:20}{b:>12}   {c:20}{d:>25}" for (a, b), (c, d) in zip(left, right, strict=True)]


def _joint(result: SoftmaxInference) -> list[str]:
    """Wald tests of the features over all classes; nothing where a class pair says it already."""
    if len(result.classes) == 2:
        return []
    tests = result.wald_tests()
    lines = ["-" * WIDTH, f"{'Joint tests':{NAME}}{f'χ²({tests.df})':>11}{'P>χ²':>10}"]
    lines += [
        f"{shortened(name, NAME - 1):{NAME}}{number(statistic):>11}{p_text(log_p):>10}"
        for name, statistic, log_p in zip(tests.feature_names, tests.statistics, tests.log_pvalues, strict=True)
    ]
    return lines


def _notes(result: SoftmaxInference) -> list[str]:
    notes = []
    if result.penalised:
        notes.append("Penalised: standard errors around the penalised optimum, not the truth.")
    if result.n_newton:
        steps = "step" if result.n_newton == 1 else "steps"
        notes.append(
            f"{result.n_newton} Newton {steps} from the fit's coefficients, {result.distance:.0e} standard errors away."
        )
    return notes


def shortened(text: Any, width: int) -> str:
    """Text of at most `width` characters, on one line."""
    words = " ".join(str(text).split())
    return words if len(words) <= width else words[: width - 1] + "…"


def number(value: float) -> str:
    """Four digits, in at most ten characters."""
    text = f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.4g}"
    return "0" if value == 0 else text


def z_text(value: float) -> str:
    """z with two decimals where they matter."""
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.3g}"


def p_text(log_p: float) -> str:
    """A p-value from its natural logarithm, also where it underflows."""
    if not isfinite(log_p):
        return "nan" if log_p != log_p else "0"
    if log_p >= log(0.001):
        return f"{exp(log_p):.3f}"
    exponent = floor(log_p / log(10))
    digit = round(10 ** (log_p / log(10) - exponent))
    return f"{digit}e{exponent}" if digit < 10 else f"1e{exponent + 1}"
