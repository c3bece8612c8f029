"""Linear cross entropy of tensors: values and gradients in every dtype, derivatives of every order, graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _linear_plan as planning
from softmax._typing import LossOptions
from tests.test_linear import OPTION, OPTIONS, SCALES, TEMPERATURES, D, N, V, close, denominator, problem, truth_of

torch = pytest.importorskip("torch")
linear_pass = pytest.importorskip("softmax._torch_linear_pass")
F = torch.nn.functional

NAMES = ("x", "linear_weight", "bias")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
REDUCTION = pytest.mark.parametrize("reduction", ["mean", "none"])


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(planning, "CACHED", 1)
    monkeypatch.setattr(planning, "ROWS", 4)


def tensor(value: Any, grad: bool = False) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.astype(np.float32)).to(torch.bfloat16).requires_grad_(grad)
    return torch.tensor(value, requires_grad=grad)


def tensors(rng, kind, options, scale=1.0, dtype="float64"):
    """A problem as tensors, the layer requiring gradients, and as arrays."""
    arrays = problem(rng, kind, options, scale, dtype)
    layer = [tensor(a, True) for a in arrays[:3]]
    return layer, tensor(arrays[3]), {name: tensor(v) for name, v in arrays[4].items()}, arrays


def loss_of(layer, target, options, **more):
    x, w, b = layer
    return sm.linear_cross_entropy(x, w, target, b, **options, **more)


@SCALES
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@OPTION
def test_value_and_gradients(small_chunks, options, kind, scale, rng):
    """With an upstream gradient that is not 1, for each reduction."""
    layer, target, options, arrays = tensors(rng, kind, options, scale)
    upstream = rng.normal(size=N)
    total = denominator(arrays[3], arrays[4])
    for reduction in ("none", "mean", "sum"):
        row_scale = {"none": upstream, "mean": 0.75 / total, "sum": 0.75}[reduction]
        truth = truth_of(*arrays, row_scale=row_scale)
        value, extras = loss_of(layer, target, options, reduction=reduction, return_extras=True)
        wanted = {"none": truth.loss, "mean": truth.loss.sum() / total, "sum": truth.loss.sum()}[reduction]
        close(value.detach(), wanted)
        assert not extras.logsumexp.requires_grad
        gradients = torch.autograd.grad(value, layer, torch.tensor(upstream if reduction == "none" else 0.75))
        for got, exact in zip(gradients, (truth.x, truth.linear_weight, truth.bias), strict=True):
            close(got, exact)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@OPTION
def test_dtypes(small_chunks, options, dtype, rng):
    layer, target, options, arrays = tensors(rng, "indices", options, dtype=dtype)
    truth = truth_of(*arrays)
    # Products in bfloat16 round the logits, which are of size 10, and their gradients.
    eps = {"float16": 2e-3, "bfloat16": 0.05, "float32": 3e-6}[dtype]
    for reduction in ("sum", "none"):
        value = loss_of(layer, target, options, reduction=reduction)
        assert value.dtype == torch.float32
        gradients = torch.autograd.grad(value.sum(), layer)
        close(value.detach().sum(), truth.loss.sum(), eps)
        for got, like, exact in zip(gradients, layer, (truth.x, truth.linear_weight, truth.bias), strict=True):
            assert got.dtype == like.dtype
            close(got.double(), exact, eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_what_one_chunk_gives_from_its_logits(dtype, rng):
    """Given the rounded logits: the loss to 4·2⁻²⁴, their gradient to one rounding."""
    z = torch.tensor(8 * rng.normal(size=(40, 301))).to(dtype)
    target = torch.tensor(rng.integers(0, 301, 40))
    exact_loss = F.cross_entropy(z.double(), target, reduction="none")
    exact = z.double().softmax(1) - F.one_hot(target, 301)
    problem_ = linear_pass.LinearProblem(z, z, target, None, LossOptions())
    run = linear_pass.TorchPass(problem_, 40)
    loss, gradient, _ = run.chunk_loss(z.clone(), target, LossOptions(), None, True, False)
    assert ((loss.double() - exact_loss).abs() <= 4 * 2**-24 * exact_loss.clamp(min=1)).all()
    eps = torch.finfo(dtype).eps
    assert ((gradient.double() - exact).abs() <= eps * exact.abs() + torch.finfo(dtype).smallest_normal).all()


@REDUCTION
def test_only_the_gradients_that_are_asked_for(reduction, rng):
    layer, target, options, arrays = tensors(rng, "indices", {})
    truth = truth_of(*arrays)
    for i, name in enumerate(NAMES):
        alone = [t if k == i else t.detach() for k, t in enumerate(layer)]
        loss_of(alone, target, options, reduction=reduction.replace("mean", "sum")).sum().backward()
        close(layer[i].grad, getattr(truth, name))
        assert all(t.grad is None for k, t in enumerate(layer) if k > i)


@REDUCTION
def test_backward_twice_gives_the_same_bits(small_chunks, reduction, rng):
    layer, target, options, _ = tensors(rng, "indices", OPTIONS["all"], dtype="float32")
    value = loss_of(layer, target, options, reduction=reduction).mean()
    first = torch.autograd.grad(value, layer, retain_graph=True)
    kept = [g.clone() for g in first]
    second = torch.autograd.grad(value, layer, torch.tensor(1.0), retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    third = torch.autograd.grad(value, layer, torch.tensor(2.0))
    assert all(torch.equal(a, 2 * b) for a, b in zip(third, kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


@REDUCTION
def test_repeated_calls_give_the_same_bits(small_chunks, reduction, rng):
    layer, target, options, _ = tensors(rng, "indices", OPTIONS["all"], dtype="float32")
    results = []
    for _ in range(2):
        value = loss_of(layer, target, options, reduction=reduction)
        results.append([value, *torch.autograd.grad(value.sum(), layer)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@REDUCTION
def test_the_tensors_of_the_caller_are_never_written(small_chunks, reduction, rng):
    layer, target, options, _ = tensors(rng, "indices", OPTIONS["all"])
    given = [*layer, target, *(v for v in options.values() if isinstance(v, torch.Tensor))]
    before = [t.detach().clone() for t in given]
    loss_of(layer, target, options, reduction=reduction).sum().backward()
    assert all(torch.equal(a.detach(), b) for a, b in zip(given, before, strict=True))


SMOOTH = ("plain", "full smoothing and weight", "a temperature per row", "softcap", "z_loss", "all")


@REDUCTION
@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck(small_chunks, name, reduction, rng):
    """Backward, forward mode and its batches, double backward, forward over reverse."""
    layer, target, options, _ = tensors(rng, "indices", OPTIONS[name], 0.7)
    x = layer[0].detach()[:3, :2].clone().requires_grad_()
    w = layer[1].detach()[:, :2].clone().requires_grad_()
    cut = {k: v[:3] if isinstance(v, torch.Tensor) and len(v) == N else v for k, v in options.items()}

    def loss(x, w, b):
        return sm.linear_cross_entropy(x, w, target[:3], b, reduction=reduction, **cut)

    given = (x, w, layer[2])
    fast = {"fast_mode": True}
    assert torch.autograd.gradcheck(loss, given, check_forward_ad=True, check_batched_forward_grad=False)
    assert torch.autograd.gradgradcheck(loss, given, check_fwd_over_rev=True, check_rev_over_rev=True, **fast)


def test_gradcheck_of_probabilities(small_chunks, rng):
    layer, target, _, _ = tensors(rng, "probabilities", {}, 0.7)
    q = (0.5 * target[:3] + 0.1).requires_grad_()
    x = layer[0].detach()[:3].clone().requires_grad_()

    def loss(x, w, b, q):
        return sm.linear_cross_entropy(x, w, q, b, reduction="none", label_smoothing=0.1)

    given = (x, *layer[1:], q)
    assert torch.autograd.gradcheck(loss, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, given, fast_mode=True, check_fwd_over_rev=True)
    assert torch.autograd.gradcheck(lambda *a: loss(*a).mean(), given)


def test_derivatives_behind_a_mask_and_an_infinite_bias(small_chunks, rng):
    """No nan comes into a second derivative from a logit of −inf."""
    layer, target, _, _ = tensors(rng, "indices", {})
    x, w, b = layer
    bias = torch.where(torch.arange(V) == 2, -torch.inf, b.detach()).requires_grad_()
    where = torch.ones(V, dtype=torch.bool)
    where[6] = False
    target = target.clamp(max=1)

    def value(w):
        return sm.linear_cross_entropy(x, w, target, bias, where=where)

    u = torch.tensor(rng.normal(size=w.shape))
    (gradient,) = torch.autograd.grad(value(w), w, create_graph=True)
    (product,) = torch.autograd.grad((gradient * u).sum(), w)
    dense = lambda w: F.cross_entropy((x @ w.t() + bias)[:, [0, 1, 3, 4, 5]], target)  # noqa: E731
    (gradient,) = torch.autograd.grad(dense(w), w, create_graph=True)
    (wanted,) = torch.autograd.grad((gradient * u).sum(), w)
    close(product, wanted.numpy(), 1e-10)


def dense_loss(x, w, target, b, **options):
    return F.cross_entropy(x @ w.t() + b, target, **options)


@REDUCTION
def test_transforms(small_chunks, reduction, rng):
    """torch.func: grad, jvp (its values, which a custom operator would give as zeros), vmap, hessian products."""
    layer, target, _, _ = tensors(rng, "indices", {})
    x, w, b = (t.detach() for t in layer)
    v = torch.tensor(rng.normal(size=w.shape))

    def ours(w, x=x):
        return sm.linear_cross_entropy(x, w, target, b, reduction=reduction).sum()

    def plain(w, x=x):
        return dense_loss(x, w, target, b, reduction=reduction).sum()

    func = torch.func
    close(func.grad(ours)(w), func.grad(plain)(w))
    close(func.jvp(ours, (w,), (v,))[1], func.jvp(plain, (w,), (v,))[1])
    assert func.jvp(ours, (w,), (v,))[1] != 0
    for product in (
        lambda f: func.jvp(func.grad(f), (w,), (v,))[1],  # forward over reverse
        lambda f: func.vjp(func.grad(f), w)[1](v)[0],  # reverse over reverse
        lambda f: func.vmap(func.grad(f))(torch.stack([w, 2 * w])),
        lambda f: func.vmap(func.grad(f, argnums=1), (None, 0))(w, torch.stack([x, 2 * x])),
        lambda f: func.vmap(lambda u: func.jvp(f, (w,), (u,))[1])(torch.stack([v, -v])),
    ):
        close(product(ours), product(plain), 1e-10)


def test_third_derivative(rng):
    layer, target, _, _ = tensors(rng, "indices", {})
    x, w, b = layer

    def chain(loss):
        (first,) = torch.autograd.grad(loss(w), w, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), w, create_graph=True)
        return torch.autograd.grad((second**2).sum(), w)[0]

    close(chain(lambda w: sm.linear_cross_entropy(x, w, target, b)), chain(lambda w: dense_loss(x, w, target, b)), 1e-9)


@REDUCTION
@pytest.mark.parametrize("name", ["plain", "all"])
def test_compiled_whole(small_chunks, name, reduction, rng):
    layer, target, options, _ = tensors(rng, "indices", OPTIONS[name])
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(x, w, b):
        return sm.linear_cross_entropy(2 * x, w, target, b, reduction=reduction, **options) * 3

    value = step(*layer)
    wanted = 3 * sm.linear_cross_entropy(2 * layer[0], *layer[1:2], target, layer[2], reduction=reduction, **options)
    close(value.detach(), wanted.detach())
    upstream = torch.tensor(rng.normal(size=value.shape))
    for got, exact in zip(
        torch.autograd.grad(value, layer, upstream), torch.autograd.grad(wanted, layer, upstream), strict=True
    ):
        close(got, exact)


@pytest.mark.slow
def test_compiled_by_inductor_with_extras(rng):
    layer, target, _, _ = tensors(rng, "indices", {}, dtype="float32")
    torch._dynamo.reset()
    step = torch.compile(lambda x, w: sm.linear_cross_entropy(x, w, target, return_extras=True), fullgraph=True)
    value, extras = step(*layer[:2])
    wanted, exact = sm.linear_cross_entropy(*layer[:2], target, return_extras=True)
    assert torch.equal(value, wanted) and torch.equal(extras.argmax, exact.argmax)
    assert extras.accuracy == exact.accuracy
    close(torch.autograd.grad(value, layer[0])[0], torch.autograd.grad(wanted, layer[0])[0], 1e-6)


@pytest.mark.parametrize("name", ["rows", "gradients", "reduced"])
def test_operators(name, rng):
    layer, target, _, _ = tensors(rng, "indices", {})
    given = (*layer, target, torch.ones(V, dtype=torch.float64), None, torch.tensor(TEMPERATURES))
    o = linear_pass.Options(1.0, 1, 0.1, 4.0, 0.01, 4)
    needs = (True, True, False)
    arguments = {
        "rows": (*given, True, *o),
        "gradients": (*(t if t is None else t.detach() for t in given), torch.ones(N, dtype=torch.float64), *needs, *o),
        "reduced": (*given, torch.tensor(3.0, dtype=torch.float64), True, True, True, True, *o),
    }
    operator = getattr(torch.ops.softmax, f"linear_cross_entropy_{name}").default
    torch.library.opcheck(operator, arguments[name])


def test_autocast(rng):
    layer, target, _, _ = tensors(rng, "indices", {}, dtype="float32")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = sm.linear_cross_entropy(*layer[:2], target, layer[2])
    assert value.dtype == torch.float32
    value.backward()
    assert all(t.grad.dtype == torch.float32 for t in layer)
    narrow = [t.detach().bfloat16() for t in layer]
    assert torch.equal(value.detach(), sm.linear_cross_entropy(*narrow[:2], target, narrow[2]))


def test_batches_of_gradients(rng):
    layer, target, _, _ = tensors(rng, "indices", {})
    for reduction in ("mean", "none"):
        value = sm.linear_cross_entropy(*layer[:2], target, layer[2], reduction=reduction)
        seed = torch.ones_like(value)
        seeds = torch.stack([seed, -2 * seed])
        batched = torch.autograd.grad(value, layer, seeds, is_grads_batched=True, retain_graph=True)
        single = torch.autograd.grad(value, layer, seed)
        for got, one in zip(batched, single, strict=True):
            close(got, torch.stack([one, -2 * one]).numpy())


def test_no_rows_and_all_rows_ignored(rng):
    layer, _, _, _ = tensors(rng, "indices", {})
    x, w, b = layer
    for rows, target in ((x[:0], torch.zeros(0, dtype=torch.long)), (x, torch.full((N,), -100))):
        value = sm.linear_cross_entropy(rows, w, target, b, ignore_index=-100)
        assert value.isnan()
        gradients = torch.autograd.grad(value, layer, allow_unused=True)
        assert all(g is None or not g.any() for g in gradients)
        assert sm.linear_cross_entropy(rows, w, target, b, ignore_index=-100, reduction="sum") == 0


def test_more_dimensions_strides_and_parameters(rng):
    layer, target, _, _ = tensors(rng, "indices", {})
    x = layer[0].detach()[:12].reshape(3, 4, D)
    wanted = sm.linear_cross_entropy(x.reshape(12, D), layer[1], target[:12], layer[2], reduction="none")
    turned = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    w = torch.nn.Parameter(layer[1].detach().t().contiguous().t())
    got = sm.linear_cross_entropy(turned, w, target[:12].reshape(3, 4), layer[2], reduction="none")
    assert got.shape == (3, 4)
    close(got.detach().reshape(12), wanted.detach())
    got.sum().backward()
    assert w.grad.shape == (V, D)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"w": torch.ones(4, 3, dtype=torch.bfloat16)}, sm.ArrayTypeError, r"got torch.bfloat16. .* torch.autocast"),
        ({"w": torch.ones(4, 3, device="meta")}, sm.ArrayValueError, "on the device of x, cpu; got meta. Move one"),
        ({"w": np.ones((4, 3))}, sm.ArrayTypeError, "must have the dtype of x"),
        ({"weight": torch.ones(4, requires_grad=True)}, sm.ArrayValueError, r"weight.detach\(\)"),
        ({"temperature": torch.ones(2, requires_grad=True)}, sm.OptionError, r"temperature.detach\(\)"),
    ],
    ids=["dtype", "device", "library", "class weights", "temperature"],
)
def test_bad_input(change, error, message):
    given = {"x": torch.ones(2, 3), "w": torch.ones(4, 3)} | change
    x, w = given.pop("x"), given.pop("w")
    with pytest.raises(error, match=message):
        sm.linear_cross_entropy(x, w, torch.tensor([0, 3]), **given)


def test_gradients_of_tensors_come_from_backward():
    x = torch.ones(2, 3)
    with pytest.raises(sm.ArrayTypeError, match=r"backward\(\)"):
        sm.linear_cross_entropy_and_grad(x, torch.ones(4, 3), torch.tensor([0, 3]))


def test_a_class_out_of_range_in_a_graph_gives_nan(rng):
    """A traced target cannot be looked at before; no memory beyond the logits is read."""
    layer, _, _, _ = tensors(rng, "indices", {}, dtype="float32")
    torch._dynamo.reset()
    step = torch.compile(
        lambda x, w, t: sm.linear_cross_entropy(x, w, t, reduction="none"), fullgraph=True, backend="aot_eager"
    )
    value = step(*layer[:2], torch.tensor([0, V, -1, 10**12, *[1] * (N - 4)]))
    assert value.isnan().tolist() == [False, True, True, True] + [False] * (N - 4)
