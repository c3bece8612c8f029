"""The benchmark of the output layer: its data can fail a wrong answer, its goals are judged from the figures alone."""

from __future__ import annotations

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of an installed package: run from the checkout")
pytest.importorskip("torch")

import torch

from benchmarks.nn import contenders, report, worker
from benchmarks.nn.cases import CASES, Case, data, truth

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
SMALL = [Case(64, 16, 50), Case(64, 0, 50)]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.kind)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gate_passes_what_is_right_and_refuses_a_constant(case, dtype, monkeypatch):
    def constant(*arguments):
        """The loss of a model that knows nothing: log V, with no gradient."""
        return sum(0.0 * a.sum().float() for a in arguments[:-1]) + torch.log(torch.tensor(float(case.v)))

    eager = {name: loss for name, loss in contenders.losses(case).items() if "compile" not in name}
    monkeypatch.setattr(worker, "losses", lambda case: {**eager, "constant": constant})
    verdicts = {record["name"]: record["passed"] for record in worker.gate(case, dtype)}
    assert verdicts.pop("constant") is False
    assert all(verdicts.values())


def test_targets_are_drawn_from_the_model():
    case = SMALL[0]
    arrays = data(case, "float32")
    guess = torch.log(torch.tensor(float(case.v)))
    assert truth(case, arrays)["loss"] < 0.75 * guess


def test_the_page_comes_from_the_figures():
    place = {"case": CASES[0].id, "dtype": "float32"}
    names = ("softmax", "torch", "torch.compile")
    times = [
        {**place, "name": n, "median_s": s, "min_s": s, "rounds": 5}
        for n, s in zip(names, (3.0, 4.0, 3.5), strict=True)
    ]
    memory = [{**place, "name": n, "peak": p, "gradients": 100} for n, p in zip(names, (400, 1100, 1100), strict=True)]
    gate = [{**place, "name": n, "errors": {"loss": 1e-7}, "passed": True} for n in names]
    results = {"times": times, "memory": memory, "gate": gate}
    found = {v["what"]: (round(v["value"], 3), v["value"] <= v["limit"]) for v in report.verdicts(results)}
    assert found == {"time over the fastest": (0.857, True), "memory over stored logits": (0.3, False)}
    text = report.table(results)
    assert "| 4096x512x32000 float32 | 3000 (min 3000) | 4000 (min 4000) | 3500 (min 3500) |" in text
    assert "| memory over stored logits | 4096x512x32000 float32 | 0.30 | 0.15 | no |" in text
