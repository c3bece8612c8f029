"""Classes shared out over the processes of a group: two and four of them, over gloo, against one process alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

PROCESS = """
import json, sys
import torch
import torch.distributed as distributed
import softmax as sm
from softmax import _linear_plan as planning

rank, world, port = map(int, sys.argv[1:])
distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
planning.CACHED, planning.ROWS = 1, 4  # several chunks
torch.manual_seed(0)
N, D, V = 11, 6, 14
cuts = [V * k * (k + 1) // (world * (world + 1)) for k in range(world + 1)]  # shares of different sizes
mine = slice(cuts[rank], cuts[rank + 1])
found = []

def case(dtype, kind, reduction, **options):
    x, w, b = (2 * torch.randn(shape, dtype=torch.double) for shape in ((N, D), (V, D), (V,)))
    x, w, b = (t.to(dtype) for t in (x, w, b))
    b[3] = -torch.inf
    target = torch.randint(4, V, (N,)) if kind == "indices" else torch.rand(N, V, dtype=torch.double).to(dtype)
    if kind == "probabilities":
        target[:, 3] = 0
    elif "ignore_index" in options:
        target[2] = options["ignore_index"]
    upstream = torch.rand(N if reduction == "none" else (), dtype=torch.double).to(x.dtype)
    whole = [t.clone().requires_grad_() for t in (x, w, b)]
    value, extras = sm.linear_cross_entropy(
        whole[0], whole[1], target, whole[2], reduction=reduction, return_extras=True, **options
    )
    exact = torch.autograd.grad(value, whole, upstream)

    def own(name, option):
        return option[..., mine] if name in ("weight", "where") else option

    share = [x.clone().requires_grad_(), w[mine].clone().requires_grad_(), b[mine].clone().requires_grad_()]
    got, more = sm.linear_cross_entropy(
        share[0], share[1], target if kind == "indices" else target[:, mine], share[2], reduction=reduction,
        return_extras=True, process_group=distributed.group.WORLD, **{k: own(k, v) for k, v in options.items()},
    )
    gradients = torch.autograd.grad(got, share, upstream, retain_graph=True)
    again = torch.autograd.grad(got, share, upstream)
    eps = 1e-11 if dtype == torch.double else 1e-5
    def close(a, b):
        torch.testing.assert_close(a, b, rtol=eps, atol=eps)
    close(got, value)
    for a, b_, c in zip(gradients, (exact[0], exact[1][mine], exact[2][mine]), again):
        close(a, b_)
        assert torch.equal(a, c)
    for name in ("logsumexp", "entropy", "max_probability", "argmax"):
        close(getattr(more, name), getattr(extras, name))
    if kind == "indices":
        assert more.accuracy == extras.accuracy
    everywhere = [torch.empty_like(got) for _ in range(world)]
    distributed.all_gather(everywhere, got.detach())
    assert all(torch.equal(one, got) for one in everywhere)  # to the last bit
    found.append(float(got.detach().sum()))

where = torch.ones(N, V, dtype=torch.bool)
where[:4, 1:3] = False
weight = torch.rand(V, dtype=torch.double)
for dtype in (torch.double, torch.float32):
    for kind in ("indices", "probabilities"):
        for reduction in ("mean", "sum", "none"):
            case(dtype, kind, reduction)
            options = {"ignore_index": -100} if kind == "indices" else {}
            case(dtype, kind, reduction, weight=weight.to(dtype), label_smoothing=0.1, where=where, softcap=5.0,
                 temperature=torch.linspace(0.5, 2, N), z_loss=0.1, **options)
try:
    x = torch.randn(N, D)
    sm.linear_cross_entropy(x, torch.randn(2, D), torch.full((N,), 2 * world), process_group=distributed.group.WORLD)
except sm.TargetError as error:
    assert f"[0, {2 * world})" in str(error)
else:
    raise AssertionError("a class that no process has was taken")
layer = torch.randn(2, D, requires_grad=True)
value = sm.linear_cross_entropy(x, layer, torch.zeros(N, dtype=torch.long), process_group=distributed.group.WORLD)
(gradient,) = torch.autograd.grad(value, layer, create_graph=True)
try:
    gradient.sum().backward()
except RuntimeError:
    pass
else:
    raise AssertionError("a second derivative that is not there was taken for 0")
distributed.destroy_process_group()
print(json.dumps(found))
"""


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
@pytest.mark.parametrize("world", [2, 4])
def test_shares_agree_with_the_whole(world):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "SOFTMAX_NUM_THREADS": "1"}
    commands = [[sys.executable, "-c", PROCESS, str(rank), str(world), str(port)] for rank in range(world)]
    running = [
        subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) for c in commands
    ]
    try:
        results = [process.communicate(timeout=240) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * world, "\n".join(error for _, error in results)
    values = [json.loads(out.splitlines()[-1]) for out, _ in results]
    assert len(values[0]) == 24 and all(value == values[0] for value in values)


def test_a_group_is_for_tensors():
    import softmax as sm

    with pytest.raises(sm.OptionError, match="process_group is for PyTorch tensors"):
        sm.linear_cross_entropy([[1.0]], [[1.0]], [0], process_group=object())
