"""The plan of a linear cross entropy: which way, how much memory, and that the memory is what was planned."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import softmax as sm
from softmax import _linear_plan as planning
from softmax import _reference_linear as reference
from softmax._linear_plan import Sizes, plan_for
from softmax._typing import LossOptions
from tests.test_linear import KIND, OPTION, close, layer, problem, truth_of

LARGE = Sizes(4096, 512, 32_000, item=4, logit=4, wide=4, gradient="with the loss", adds=True)
HALF = Sizes(4096, 512, 32_000, item=2, logit=2, wide=4, gradient="with the loss")


def test_without_a_budget_the_fastest_way_is_taken():
    assert plan_for(LARGE).way == "chunks"
    assert plan_for(LARGE).rows == -(-4096 // 11) <= planning.ROWS  # in eleven chunks of one size
    small = Sizes(100, 64, 10, item=4, logit=4, wide=4)
    assert plan_for(small).way == "stored" and plan_for(small).rows == 100


@pytest.mark.parametrize("sizes", [LARGE, HALF], ids=["float32", "bfloat16"])
def test_a_budget_is_kept_by_every_way(sizes):
    fastest = plan_for(sizes).peak
    ways = set()
    with pytest.raises(sm.OptionError) as refused:
        plan_for(sizes, 1)
    smallest = int(str(refused.value).split("at least ")[1].split()[0])
    for budget in np.geomspace(smallest, fastest, 40).astype(int):
        plan = plan_for(sizes, max(int(budget), smallest))
        assert plan.peak <= max(budget, smallest)
        ways.add(plan.way)
    # With products that are added in float32, going twice over the classes saves nothing.
    assert ways == ({"chunks", "recompute"} if sizes is HALF else {"chunks"})
    with pytest.raises(sm.OptionError, match=f"at least {smallest} bytes"):
        plan_for(sizes, smallest - 1)


def test_the_formula_adds_up():
    for plan in (plan_for(LARGE), plan_for(HALF), plan_for(HALF, 120_000_000)):
        numbers = [int(term.split(" (")[0].replace(",", "")) for term in plan.formula.split(" + ")]
        assert sum(numbers) == plan.peak
        assert f"{plan.peak:,} bytes" in str(plan)


@pytest.mark.parametrize("budget", [0, -1, 0.0, 1.5, True, "1 GB", float("nan"), [1]])
def test_a_budget_that_is_none(budget, rng):
    x, w, _ = layer(rng)
    with pytest.raises(sm.OptionError, match="memory_budget must be a positive integer"):
        sm.linear_cross_entropy(x, w, np.zeros(len(x), int), memory_budget=budget)


def test_a_fraction_of_the_free_memory(rng):
    x, w, _ = layer(rng)
    target = np.zeros(len(x), int)
    close(sm.linear_cross_entropy(x, w, target, memory_budget=0.5), sm.linear_cross_entropy(x, w, target))
    with pytest.raises(sm.OptionError, match=r"at least \d+ bytes for N = 13, D = 5, V = 7; got"):
        sm.linear_cross_entropy(x, w, target, memory_budget=1e-9)


@KIND
@OPTION
def test_blocks_of_classes_give_the_same(monkeypatch, options, kind, rng):
    """The way that computes the logits twice, forced, in blocks that do not divide the classes."""
    x, w, b, target, options = problem(rng, kind, options, 2.0)
    monkeypatch.setattr(planning, "plan_for", None)
    plan = planning.LinearPlan("recompute", "with the loss", 4, 3, 0, "", "")
    monkeypatch.setattr("softmax._linear.plan_for", lambda sizes, budget: plan)
    truth = truth_of(x, w, b, target, options)
    value, gradients = sm.linear_cross_entropy_and_grad(x, w, target, b, reduction="none", **options)
    close(value, truth.loss)
    for got, wanted in zip(gradients, (truth.x, truth.linear_weight, truth.bias), strict=True):
        close(got, wanted)
    _, extras = sm.linear_cross_entropy(x, w, target, b, return_extras=True, **options)
    counts = np.ones(len(x), bool) if target.ndim == 2 else target != options.get("ignore_index")
    for name in ("logsumexp", "entropy", "max_probability", "argmax"):
        close(getattr(extras, name)[counts], getattr(truth, name)[counts])
        assert (getattr(extras, name)[~counts] == 0).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_tensors_in_blocks_of_classes(monkeypatch, dtype, reduction, rng):
    torch = pytest.importorskip("torch")
    x, w, b = (torch.tensor(a).to(getattr(torch, dtype)) for a in layer(rng, 2.0))
    target = torch.tensor(rng.integers(0, 7, 13))
    when = "with the loss" if reduction == "mean" else "after the loss"
    plan = planning.LinearPlan("recompute", when, 4, 3, 0, "", "")
    monkeypatch.setattr("softmax._torch_linear_pass.plan_for", lambda sizes, budget: plan)
    layer_ = [t.clone().requires_grad_() for t in (x, w, b)]
    value = sm.linear_cross_entropy(*layer_[:2], target, layer_[2], reduction=reduction)
    value.mean().backward()
    truth = reference.linear_cross_entropy(
        x.double().numpy(),
        w.double().numpy(),
        target.numpy(),
        b.double().numpy(),
        options=LossOptions(),
        row_scale=1 / 13,
    )
    eps = 0.03 if dtype == "bfloat16" else 1e-5
    close(value.detach().mean(), truth.loss.mean(), eps)
    for got, wanted in zip(layer_, (truth.x, truth.linear_weight, truth.bias), strict=True):
        assert got.grad.dtype == got.dtype
        close(got.grad.double(), wanted, eps)


# What was planned is what is used. A process of its own, because what others left free would hide what is taken.

MEASURE = """
import json, sys
import numpy as np
library, dtype, when, budget = json.loads(sys.argv[1])
import softmax as sm
from softmax import _linear_plan as planning

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

plans = []
plan_for = planning.plan_for
def kept(*arguments):
    plans.append(plan_for(*arguments))
    return plans[-1]
import softmax._linear as module
module.plan_for = kept

def data(n, d, v):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, np.float32) / 8 for shape in ((n, d), (v, d)))
    return x, w, rng.integers(0, v, n)

if library == "torch":
    import torch
    import softmax._torch_linear_pass as module
    module.plan_for = kept
    torch.set_num_threads(1)
    def call(x, w, y):
        wanted = when != "no gradient"
        x, w = (torch.from_numpy(a).to(getattr(torch, dtype)).requires_grad_(wanted) for a in (x, w))
        y = torch.from_numpy(y)
        def run():
            reduction = "none" if when == "after the loss" else "mean"
            most = budget if len(x) > 1000 else None
            loss = sm.linear_cross_entropy(x, w, y, reduction=reduction, memory_budget=most)
            if wanted:
                loss.backward(torch.full_like(loss, 0.5))
                assert x.grad is not None
        return run
else:
    def call(x, w, y):
        x, w = x.astype(dtype), w.astype(dtype)
        function = sm.linear_cross_entropy if when == "no gradient" else sm.linear_cross_entropy_and_grad
        return lambda: function(x, w, y, memory_budget=budget if len(x) > 1000 else None)

call(*data(384, 192, 40_000))()  # what libraries keep for their next call is not counted
run = call(*data(1024, 192, 40_000))
if library == "numpy":  # every array is counted, and the buffers of the BLAS are not
    import tracemalloc
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
else:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from here
    before = status("VmRSS")
    run()
    peak = status("VmHWM") - before
print(json.dumps([peak, plans[-1].peak, plans[-1].way, plans[-1].formula]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("library", "dtype", "when", "budget", "way"),
    [
        ("numpy", "float32", "no gradient", None, "chunks"),
        ("numpy", "float32", "with the loss", None, "chunks"),
        ("numpy", "float16", "with the loss", None, "chunks"),
        ("numpy", "float32", "with the loss", 60_000_000, "chunks"),
        ("torch", "float32", "with the loss", None, "chunks"),
        ("torch", "float32", "after the loss", None, "chunks"),
        ("torch", "bfloat16", "with the loss", None, "chunks"),
        ("torch", "bfloat16", "with the loss", 42_000_000, "recompute"),
    ],
)
def test_the_peak_is_within_a_tenth_of_the_formula(library, dtype, when, budget, way):
    pytest.importorskip("numba")
    if library == "torch":
        pytest.importorskip("torch")
    arguments = json.dumps([library, dtype, when, budget])
    # What is freed goes back to the system at once, so that it can be seen to be taken again.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", MEASURE, arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured, planned, taken, formula = json.loads(done.stdout.splitlines()[-1])
    assert taken == way
    assert abs(measured / planned - 1) < 0.1, (measured, planned, formula)
    if budget is not None:
        assert planned <= budget


# What explains a plan


def test_explain_dispatch_prints_the_plan(rng):
    x, w, b = layer(rng)
    target = np.zeros(len(x), int)
    found = sm.explain_dispatch(sm.linear_cross_entropy_and_grad, x, w, target, b, memory_budget=100_000)
    assert found.plan.way == "stored" and found.plan.gradient == "with the loss"
    assert str(found.plan) in str(found) and found.plan.formula in str(found)
    assert sm.explain_dispatch("linear_cross_entropy", x, w, target).plan.gradient == "no gradient"
    assert sm.explain_dispatch(sm.softmax, x).plan is None
    with pytest.raises(sm.OptionError, match="memory_budget must be at least"):
        sm.explain_dispatch(sm.linear_cross_entropy, x, w, target, memory_budget=1)


def test_explain_dispatch_of_tensors(rng):
    torch = pytest.importorskip("torch")
    x, w, _ = (torch.tensor(a, requires_grad=True) for a in layer(rng))
    target = torch.zeros(len(x), dtype=torch.long)
    whens = [
        sm.explain_dispatch(sm.linear_cross_entropy, x, w, target, reduction=r).plan.gradient for r in ("sum", "none")
    ]
    assert whens == ["with the loss", "after the loss"]
    with torch.no_grad():
        assert sm.explain_dispatch(sm.linear_cross_entropy, x, w, target).plan.gradient == "no gradient"
