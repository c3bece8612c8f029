"""Softmax (multinomial logistic) regression, fitted to a certified optimum.

Parts, each in its own file: `_rows` (what is asked of X), `_objective` (value, gradient, Hessian), `_certificate`
(distance to the optimum), `_newton` with `_preconditioners` and `_solvers` (the way there), `_estimator` (labels,
validation, scikit-learn's conventions), `_path` with `_follow` (many strengths of the penalty), `_cv` with
`_folds`, `_scores` and `_loo` (the choice of one).
"""

from ._cv import SoftmaxRegressionCV
from ._estimator import SoftmaxRegression
from ._path import softmax_path

__all__ = ["SoftmaxRegression", "SoftmaxRegressionCV", "softmax_path"]
