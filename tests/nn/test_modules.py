"""The modules: PyTorch's values and gradients, its state dicts, and what users put around modules."""

from __future__ import annotations

import copy
import io
import sys

import pytest

import softmax as sm

torch = pytest.importorskip("torch")
F = torch.nn.functional

SHAPES = {"(C,)": (7,), "(N, C)": (5, 7), "(N, C, d1)": (5, 7, 3), "(N, C, d1, d2)": (2, 7, 3, 4)}
REDUCTIONS = ("mean", "sum", "none")
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 1e-2}


def rows_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    return () if len(shape) == 1 else (shape[0], *shape[2:])


def both(ours, theirs, logits, target, reduction):
    """Value and gradient of each, for an upstream gradient that is not 1."""
    results = []
    for loss in (ours, theirs):
        x = logits.clone().requires_grad_()
        value = loss(x, target)
        upstream = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
        value.backward(upstream)
        results.append((value.detach(), x.grad))
    return results


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


# CrossEntropyLoss


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("peaked", [False, True], ids=["flat", "peaked"])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_values_and_gradients_are_those_of_pytorch(shape, reduction, peaked, kind, generator):
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * (20 if peaked else 0.5)
    if kind == "indices":
        target = torch.randint(7, rows_of(shape), generator=generator)
        target = torch.where(target == 3, -100, target) if len(shape) > 1 else target
    else:
        target = torch.rand(shape, generator=generator, dtype=torch.float64)
    options = {"weight": torch.rand(7, generator=generator, dtype=torch.float64), "label_smoothing": 0.1}
    ours = sm.nn.CrossEntropyLoss(reduction=reduction, **options)
    theirs = torch.nn.CrossEntropyLoss(reduction=reduction, **options)
    (value, gradient), (value_, gradient_) = both(ours, theirs, logits, target, reduction)
    torch.testing.assert_close(value, value_, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, gradient_, rtol=1e-10, atol=1e-12)
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_each_dtype(dtype, generator):
    logits = (6 * torch.randn(9, 33, generator=generator)).to(dtype)
    target = torch.randint(33, (9,), generator=generator)
    (value, gradient), (value_, gradient_) = both(
        sm.nn.CrossEntropyLoss(), lambda x, t: F.cross_entropy(x.double(), t), logits, target, "mean"
    )
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    torch.testing.assert_close(value.double(), value_, rtol=TOLERANCE[torch.float32], atol=1e-7)
    torch.testing.assert_close(gradient, gradient_, rtol=TOLERANCE[dtype], atol=1e-7)


def test_the_options_that_pytorch_lacks(generator):
    logits = 30 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(5, (6,), generator=generator)

    def theirs(x, t):
        z = 10 * torch.tanh(x / 10) / 2
        return F.cross_entropy(z, t) + 0.01 * (torch.logsumexp(z, 1) ** 2).mean()

    ours = sm.nn.CrossEntropyLoss(softcap=10, temperature=2, z_loss=0.01)
    (value, gradient), (value_, gradient_) = both(ours, theirs, logits, target, "mean")
    torch.testing.assert_close(value, value_)
    torch.testing.assert_close(gradient, gradient_)


def test_it_is_a_loss_of_pytorch_with_its_state():
    weight = torch.tensor([1.0, 2.0, 0.5])
    ours, theirs = sm.nn.CrossEntropyLoss(weight), torch.nn.CrossEntropyLoss(weight)
    assert isinstance(ours, torch.nn.CrossEntropyLoss)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    other = sm.nn.CrossEntropyLoss(torch.zeros(3))
    other.load_state_dict(theirs.state_dict())
    assert torch.equal(other.weight, weight)
    assert list(sm.nn.CrossEntropyLoss().state_dict()) == []
    assert ours.double().weight.dtype == torch.float64


def test_a_mean_over_ignored_rows_alone_is_nan():
    assert sm.nn.CrossEntropyLoss()(torch.randn(2, 3), torch.tensor([-100, -100])).isnan()
    assert sm.nn.CrossEntropyLoss()(torch.randn(0, 3), torch.zeros(0, dtype=torch.int64)).isnan()


def test_one_class_has_no_loss():
    x = torch.randn(4, 1, requires_grad=True)
    loss = sm.nn.CrossEntropyLoss(reduction="sum")(x, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert not x.grad.any()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: sm.nn.CrossEntropyLoss(label_smoothing=1.5), sm.OptionError, "label_smoothing"),
        (lambda: sm.nn.CrossEntropyLoss(softcap=-1), sm.OptionError, "softcap"),
        (lambda: sm.nn.CrossEntropyLoss(temperature=0), sm.OptionError, "temperature"),
        (lambda: sm.nn.CrossEntropyLoss(z_loss=float("nan")), sm.OptionError, "z_loss"),
        (lambda: sm.nn.CrossEntropyLoss(reduction="average"), sm.OptionError, "reduction"),
        (lambda: sm.nn.CrossEntropyLoss(ignore_index=1.5), sm.OptionError, "ignore_index"),
    ],
    ids=["label_smoothing", "softcap", "temperature", "z_loss", "reduction", "ignore_index"],
)
def test_options_out_of_range(make, error, words):
    with pytest.raises(error, match=words):
        make()


BAD_CALLS = {
    "index out of range": (torch.zeros(2, 3), torch.tensor([0, 3]), sm.TargetError, r"\[0, 3\); got 3 at row 1"),
    "negative index": (torch.zeros(2, 3), torch.tensor([0, -1]), sm.TargetError, "ignore_index=-1"),
    "too few targets": (torch.zeros(2, 3), torch.tensor([0]), sm.TargetError, "target"),
    "float indices": (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), sm.TargetError, "cast"),
    "one-hot integers": (torch.zeros(2, 3), torch.eye(3, dtype=torch.int64)[:2], sm.TargetError, "one-hot"),
    "nan probabilities": (torch.zeros(1, 2), torch.tensor([[0.5, float("nan")]]), sm.TargetError, "finite"),
    "integer logits": (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 1]), sm.ArrayTypeError, "int64"),
    "no tensor": ([[0.0, 1.0]], torch.tensor([0]), sm.ArrayTypeError, "list"),
    "no class axis": (torch.tensor(1.0), torch.tensor(0), sm.ArrayValueError, "axis for the classes"),
    "empty class axis": (torch.zeros(2, 0), torch.tensor([0, 0]), sm.ArrayValueError, "class axis"),
    "two classes wrong": (torch.zeros(5, 3, 2), torch.zeros(5, 3, dtype=torch.int64), sm.TargetError, "target"),
}


@pytest.mark.parametrize(("logits", "target", "error", "words"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls_of_the_loss(logits, target, error, words):
    with pytest.raises(error, match=words):
        sm.nn.CrossEntropyLoss()(logits, target)


def test_class_weights_that_do_not_fit():
    with pytest.raises(sm.ArrayValueError, match=r"shape \(3,\)"):
        sm.nn.CrossEntropyLoss(torch.ones(2))(torch.zeros(2, 3), torch.tensor([0, 1]))
    on_meta = sm.nn.CrossEntropyLoss(torch.ones(3)).to("meta")
    with pytest.raises(sm.ArrayValueError, match=r"on meta and the input on cpu.*module\.to\('cpu'\)"):
        on_meta(torch.zeros(2, 3), torch.tensor([0, 1]))


# The heads


HEADS = {"loss": sm.nn.LinearCrossEntropy, "output": sm.nn.SoftmaxOutput}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_head_has_the_state_and_the_start_of_a_linear_layer(head, bias):
    torch.manual_seed(3)
    linear = torch.nn.Linear(4, 6, bias=bias)
    torch.manual_seed(3)
    ours = head(4, 6, bias=bias)
    assert list(ours.state_dict()) == list(linear.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), linear.parameters(), strict=True))
    with torch.no_grad():
        linear.weight += 1
    ours.load_state_dict(linear.state_dict())
    x = torch.randn(2, 3, 4)
    assert torch.equal(ours.logits(x), linear(x))
    linear.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_what_a_head_says_of_its_logits(head, generator):
    ours = head(4, 6, softcap=3.0, temperature=0.5, dtype=torch.float64)
    x = 10 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    z = 3 * torch.tanh(F.linear(x, ours.weight, ours.bias) / 3) / 0.5
    torch.testing.assert_close(ours.logits(x), z)
    torch.testing.assert_close(ours.predict_proba(x), torch.softmax(z, -1))
    torch.testing.assert_close(ours.log_proba(x), torch.log_softmax(z, -1))
    values, indices = torch.softmax(z, -1).topk(3)
    found = ours.topk(x, 3)
    torch.testing.assert_close(found.probabilities, values)
    assert torch.equal(found.indices, indices)


def test_the_probabilities_of_an_output_layer(generator):
    layer = sm.nn.SoftmaxOutput(4, 6, dtype=torch.float64)
    x = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.softmax(layer.logits(x), -1))
    assert torch.equal(sm.nn.SoftmaxOutput.from_linear(layer, log=True)(x), layer.log_proba(x))
    target = torch.randint(6, (2, 5), generator=generator)
    torch.testing.assert_close(layer.loss(x, target), F.nll_loss(layer(x).log().flatten(0, 1), target.flatten()))
    far = layer.loss(1e4 * x, target, reduction="none")
    assert far.isfinite().all() and far.max() > 1e3  # where probabilities underflow


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_the_loss_of_a_head_is_that_of_the_two_layers(reduction, kind, generator):
    weight = torch.rand(9, generator=generator, dtype=torch.float64)
    options = {"weight": weight, "label_smoothing": 0.1, "reduction": reduction}
    options |= {"softcap": 5.0, "temperature": 0.7, "z_loss": 1e-3}
    linear = torch.nn.Linear(4, 9, dtype=torch.float64)
    head = sm.nn.LinearCrossEntropy.from_linear(linear, **options)
    x = 3 * torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    if kind == "indices":
        target = torch.randint(9, (3, 5), generator=generator)
        target[0, 0] = -100
    else:
        target = torch.rand(3, 5, 9, generator=generator, dtype=torch.float64)
    gradients = []
    two = sm.nn.CrossEntropyLoss(**options)
    for loss in (head, lambda x, t: two(linear(x).movedim(-1, 1), t.movedim(-1, 1) if t.ndim == 3 else t)):
        inner = x.clone().requires_grad_()
        value = loss(inner, target)
        linear.zero_grad()
        value.backward(torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape))
        gradients.append((value.detach(), inner.grad, linear.weight.grad.clone(), linear.bias.grad.clone()))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert ours.abs().max() > 1e-3


def test_a_reduction_for_one_call(generator):
    head = sm.nn.LinearCrossEntropy(4, 3)
    x, target = torch.randn(6, 4, generator=generator), torch.randint(3, (6,), generator=generator)
    torch.testing.assert_close(head.loss(x, target, reduction="none").mean(), head(x, target))


def test_a_tied_weight(generator):
    table = torch.nn.Embedding(11, 4)
    head = sm.nn.LinearCrossEntropy(4, 11, bias=False)
    head.weight = table.weight
    words = torch.randint(11, (6,), generator=generator)
    head(table(words), words).backward()
    assert table.weight.grad is not None and table.weight.grad.any()
    assert head.weight is table.weight
    longer = torch.nn.Embedding(12, 4)
    head.weight = longer.weight
    assert head.num_classes == 12
    assert "num_classes=12" in repr(head)


def test_from_linear_shares_its_parameters():
    linear = torch.nn.Linear(4, 3)
    head = sm.nn.LinearCrossEntropy.from_linear(linear, weight=torch.ones(3), ignore_index=0)
    assert head.weight is linear.weight and head.bias is linear.bias
    assert head.ignore_index == 0 and head.class_weight.device.type == "cpu"
    with pytest.raises(sm.ArrayTypeError, match=r"takes an nn\.Linear; got Conv1d"):
        sm.nn.LinearCrossEntropy.from_linear(torch.nn.Conv1d(2, 3, 1))


def test_topk_goes_over_the_classes_in_blocks(generator, monkeypatch):
    modules = sys.modules[sm.nn.LinearCrossEntropy.__module__]
    monkeypatch.setattr(modules, "MOST_CLASSES", 10)
    monkeypatch.setattr(modules, "MOST_LOGITS", 40)
    head = sm.nn.LinearCrossEntropy(4, 37)
    x = 5 * torch.randn(3, 7, 4, generator=generator)
    largest = []
    one_block = type(head)._of_classes
    monkeypatch.setattr(type(head), "_of_classes", lambda *a: largest.append((z := one_block(*a)).numel()) or z)
    for k in (1, 5, 12, 37):
        largest.clear()
        found = head.topk(x, k)
        assert max(largest) <= 40
        values, indices = torch.softmax(F.linear(x, head.weight, head.bias), -1).topk(k)
        torch.testing.assert_close(found.probabilities, values)
        assert torch.equal(found.indices, indices)
    assert head.topk(x[:, :0], 2).indices.shape == (3, 0, 2)
    assert not head.topk(x, 2).probabilities.requires_grad


BAD_HEADS = {
    "features": (lambda h: h(torch.zeros(2, 5), torch.tensor([0, 1])), sm.ArrayValueError, r"\(\.\.\., 4\)"),
    "integers": (lambda h: h(torch.zeros(2, 4).long(), torch.tensor([0, 1])), sm.ArrayTypeError, "int64"),
    "a list": (lambda h: h.logits([[0.0] * 4]), sm.ArrayTypeError, "list"),
    "a number": (lambda h: h.logits(torch.tensor(0.0)), sm.ArrayValueError, r"\(\)"),
    "another dtype": (lambda h: h.logits(torch.zeros(2, 4).double()), sm.ArrayTypeError, "float64"),
    "another device": (lambda h: h.logits(torch.zeros(2, 4, device="meta")), sm.ArrayValueError, "cpu and x on meta"),
    "a target too large": (lambda h: h(torch.zeros(2, 4), torch.tensor([0, 3])), sm.TargetError, "got 3 at row 1"),
    "too few targets": (lambda h: h(torch.zeros(2, 4), torch.tensor([0])), sm.TargetError, "target"),
    "k of 0": (lambda h: h.topk(torch.zeros(2, 4), 0), sm.OptionError, r"\[1, 3\]"),
    "k beyond": (lambda h: h.topk(torch.zeros(2, 4), 4), sm.OptionError, "number of classes; got 4"),
}


@pytest.mark.parametrize(("call", "error", "words"), BAD_HEADS.values(), ids=BAD_HEADS)
def test_bad_calls_of_a_head(call, error, words):
    with pytest.raises(error, match=words):
        call(sm.nn.LinearCrossEntropy(4, 3))


@pytest.mark.parametrize("sizes", [(0, 3), (4, 0), (4.0, 3), (4, True)], ids=str)
def test_bad_sizes_of_a_head(sizes):
    with pytest.raises(sm.OptionError, match="must be an integer, 1 or more"):
        sm.nn.LinearCrossEntropy(*sizes)


def test_class_weights_of_a_head_that_do_not_fit():
    with pytest.raises(sm.ArrayValueError, match=r"shape \(3,\)"):
        sm.nn.LinearCrossEntropy(4, 3, weight=torch.ones(2))
    head = sm.nn.LinearCrossEntropy(4, 3, weight=torch.ones(3))
    head.class_weight = head.class_weight.to("meta")
    with pytest.raises(sm.ArrayValueError, match="class weights of this module are on meta"):
        head(torch.zeros(2, 4), torch.tensor([0, 1]))


def test_what_a_module_says_of_itself():
    assert repr(sm.nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    assert (
        repr(sm.nn.CrossEntropyLoss(softcap=30, reduction="sum")) == "CrossEntropyLoss(reduction='sum', softcap=30.0)"
    )
    head = sm.nn.LinearCrossEntropy(4, 3, bias=False, z_loss=1e-4)
    assert repr(head) == "LinearCrossEntropy(in_features=4, num_classes=3, bias=False, z_loss=0.0001)"
    assert repr(sm.nn.SoftmaxOutput(4, 3, log=True)).endswith("bias=True, log=True)")


# What users put around modules


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype, generator):
    head = sm.nn.LinearCrossEntropy(8, 5)
    x, target = torch.randn(6, 8, generator=generator), torch.randint(5, (6,), generator=generator)
    whole = head(x, target)
    with torch.autocast("cpu", dtype=dtype):
        loss = head(x, target)
        assert head.logits(x).dtype == dtype
    loss.backward()
    assert loss.dtype == torch.float32
    assert head.weight.grad.dtype == torch.float32
    torch.testing.assert_close(loss, whole, rtol=2e-2, atol=2e-2)
    assert loss != whole  # the products were those of the smaller dtype
    wide = sm.nn.LinearCrossEntropy(8, 5, dtype=torch.float64)
    with torch.autocast("cpu", dtype=dtype):
        assert wide(x.double(), target).dtype == torch.float64


@pytest.mark.parametrize("module", ["loss", "head"])
def test_compiled_whole(module, generator):
    x, target = torch.randn(6, 8, generator=generator), torch.randint(5, (6,), generator=generator)
    layer = torch.nn.Linear(8, 5)
    if module == "loss":
        loss = torch.nn.Sequential(layer)
        criterion = sm.nn.CrossEntropyLoss(label_smoothing=0.1)
        run = lambda x: criterion(loss(x), target)  # noqa: E731
    else:
        head = sm.nn.LinearCrossEntropy.from_linear(layer, label_smoothing=0.1)
        run = lambda x: head(x, target)  # noqa: E731
    eager = run(x)
    eager.backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")(x)
    compiled.backward()
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(layer.weight.grad, expected)


def test_copies_and_files(generator):
    head = sm.nn.LinearCrossEntropy(4, 3, weight=torch.tensor([1.0, 2.0, 3.0]), softcap=9.0)
    x, target = torch.randn(6, 4, generator=generator), torch.randint(3, (6,), generator=generator)
    assert torch.equal(copy.deepcopy(head)(x, target), head(x, target))
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    other = sm.nn.LinearCrossEntropy(4, 3, weight=torch.tensor([1.0, 2.0, 3.0]), softcap=9.0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x, target), head(x, target))


def test_a_network_learns_with_either(generator):
    X = torch.randn(200, 6, generator=generator)
    y = (X @ torch.randn(6, 4, generator=generator)).argmax(1)
    curves = []
    for fused in (True, False):
        torch.manual_seed(1)
        body, layer = torch.nn.Linear(6, 16), torch.nn.Linear(16, 4)
        head = sm.nn.LinearCrossEntropy.from_linear(layer)
        optimiser = torch.optim.SGD([*body.parameters(), *layer.parameters()], lr=0.5)
        curve = []
        for _ in range(30):
            optimiser.zero_grad()
            hidden = torch.tanh(body(X))
            loss = head(hidden, y) if fused else F.cross_entropy(layer(hidden), y)
            loss.backward()
            optimiser.step()
            curve.append(loss.item())
        curves.append(curve)
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][-1] < 0.5 * curves[0][0]
