"""The node tests of ONNX for the operators that are made of the functions of this package."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import softmax as sm

onnx = pytest.importorskip("onnx")

COUNTS = {
    "Softmax": 7,
    "LogSoftmax": 7,
    "ReduceLogSumExp": 9,
    "SoftmaxCrossEntropyLoss": 34,
    "NegativeLogLikelihoodLoss": 18,
}


@functools.cache
def cases() -> dict[str, list[Any]]:
    """The cases of one node each, by operator; ONNX makes their arrays, and no model is run."""
    from onnx.backend.test.case.node import collect_testcases

    with np.errstate(all="ignore"):  # making the cases of other operators warns
        found = collect_testcases(None)
    result: dict[str, list[Any]] = {name: [] for name in COUNTS}
    for case in found:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in result:
            result[nodes[0].op_type].append(case)
    return result


def attributes(case: Any) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}


def softmax(inputs: Any, options: Any, outputs: int) -> Any:
    return [sm.softmax(inputs[0], axis=options.get("axis", -1))]


def log_softmax(inputs: Any, options: Any, outputs: int) -> Any:
    return [sm.log_softmax(inputs[0], axis=options.get("axis", -1))]


def reduce_log_sum_exp(inputs: Any, options: Any, outputs: int) -> Any:
    axes = tuple(map(int, inputs[1])) if len(inputs) > 1 else ()
    return [sm.logsumexp(inputs[0], axis=axes or None, keepdims=bool(options.get("keepdims", 1)))]


def cross_entropy(inputs: Any, options: Any, outputs: int) -> Any:
    logits, target, *weight = inputs
    value = sm.cross_entropy(
        logits,
        target,
        axis=1,
        weight=weight[0] if weight else None,
        ignore_index=options.get("ignore_index"),
        reduction=options.get("reduction", b"mean").decode(),
    )
    return [value] if outputs == 1 else [value, sm.log_softmax(logits, axis=1)]


def negative_log_likelihood(inputs: Any, options: Any, outputs: int) -> Any:
    """The loss of given log-probabilities: they are logits whose logsumexp is 0.

    The cases hold arbitrary scores instead, so that the logsumexp of each row, weighted as its loss is, is taken off:
    (lse - score) - lse, in float64.
    """
    scores, target, *weight = inputs
    dtype, scores = scores.dtype, scores.astype(np.float64)
    classes = np.ones(scores.shape[1]) if not weight else weight[0].astype(np.float64)
    ignore, reduction = options.get("ignore_index"), options.get("reduction", b"mean").decode()
    losses = sm.cross_entropy(scores, target, axis=1, weight=classes, ignore_index=ignore, reduction="none")
    counted = np.ones(target.shape, bool) if ignore is None else target != ignore
    row_weight = np.where(counted, classes[np.where(counted, target, 0)], 0)
    losses = losses - row_weight * sm.logsumexp(scores, axis=1)
    value = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / row_weight.sum()}[reduction]
    return [np.asarray(value, dtype)]


RUN = {
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "ReduceLogSumExp": reduce_log_sum_exp,
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
}


def check(operator: str, run: Any) -> int:
    """Run the cases of an operator; return how many there are."""
    for case in cases()[operator]:
        for inputs, expected in case.data_sets:
            got = run(inputs, attributes(case), len(expected))
            for ours, theirs in zip(got, expected, strict=True):
                assert np.asarray(ours).dtype == theirs.dtype, case.name
                assert np.shape(ours) == theirs.shape, case.name
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=case.atol, err_msg=case.name)
    return len(cases()[operator])


@pytest.mark.parametrize("operator", COUNTS)
def test_operator(operator):
    # Newer versions of ONNX may have more cases.
    assert check(operator, RUN[operator]) >= COUNTS[operator]


@pytest.mark.parametrize("operator", COUNTS)
def test_a_wrong_answer_is_noticed(operator):
    def slightly_wrong(inputs: Any, options: Any, outputs: int) -> Any:
        return [np.asarray(v * (1 + 1e-3), v.dtype) for v in RUN[operator](inputs, options, outputs)]

    with pytest.raises(AssertionError):
        check(operator, slightly_wrong)
