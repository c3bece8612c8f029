"""ONNX Runtime: a model of one node, run on the CPU provider (MLAS)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.registry import Case
from benchmarks.rivals import Implementation

NAME = "ONNX Runtime"
DISTRIBUTION = "onnxruntime"
NOTE = (
    "InferenceSession.run of a one-node model on the NumPy array, intra_op_num_threads set; its arena keeps the memory "
    "of the result from call to call, so that no page is new to it after the first."
)
_NODES = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "logsumexp": "ReduceLogSumExp"}


def _session(case: Case, dtype: np.dtype[Any], threads: int) -> onnxruntime.InferenceSession:
    """Return a session of one node, Softmax-13, LogSoftmax-13 or ReduceLogSumExp-18."""
    element = TensorProto.FLOAT if dtype == np.float32 else TensorProto.DOUBLE
    names, initialisers, attributes = ["x"], [], {"axis": case.axis}
    if case.operation == "logsumexp":
        names, attributes = ["x", "axes"], {"keepdims": 0}
        initialisers = [helper.make_tensor("axes", TensorProto.INT64, [1], [case.axis])]
    graph = helper.make_graph(
        [helper.make_node(_NODES[case.operation], names, ["y"], **attributes)],
        case.operation,
        [helper.make_tensor_value_info("x", element, None)],
        [helper.make_tensor_value_info("y", element, None)],
        initialisers,
    )
    # An IR version that every release of the last years reads, whatever the installed onnx writes by default.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def implementations(case: Case, arrays: dict[str, Any], threads: int) -> list[Implementation]:
    """Return ONNX Runtime's way to compute the case, if it has the operator."""
    if case.operation not in _NODES:
        return []
    session, feed = _session(case, arrays["x"].dtype, threads), {"x": arrays["x"]}
    return [Implementation(NAME, lambda: session.run(None, feed), tuple)]
