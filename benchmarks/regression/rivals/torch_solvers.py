"""PyTorch: full-batch L-BFGS with autograd, and mini-batches where the logits of all rows do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.regression.methods import Setting
from benchmarks.regression.rivals import Solve
from benchmarks.regression.tasks import Answer, Task

MAX_ITER = 1_000_000
HISTORY = 20
BATCH = 1024


def start(method: str, task: Task, threads: int) -> Solve:
    """Return the call: "LBFGS", "LBFGS float64" or "mini-batch"."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    (objective,) = task.objectives()
    y = torch.from_numpy(task.y)
    if method == "mini-batch":
        rows = _padded_rows(task.X)
        return lambda settings: _mini_batch(torch.from_numpy(rows), y, task, objective.ridge, settings[0])
    X = torch.from_numpy(task.X.astype(np.float64) if method.endswith("float64") else task.X)
    return lambda settings: _full_batch(X, y, task.n_classes, objective.ridge, settings[0])


def _full_batch(X: Any, y: Any, K: int, ridge: float, setting: Setting) -> Answer:
    import torch
    from torch.nn.functional import cross_entropy

    W = torch.zeros(K, X.shape[1], dtype=X.dtype, requires_grad=True)
    b = torch.zeros(K, dtype=X.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [W, b], max_iter=MAX_ITER, history_size=HISTORY, tolerance_grad=setting["tol"], tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Any:
        optimizer.zero_grad()
        loss = cross_entropy(X @ W.T + b, y) + ridge / 2 * (W * W).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return Answer([W.detach().numpy().astype(np.float64)], [b.detach().numpy().astype(np.float64)])


def _padded_rows(X: Any) -> np.ndarray:
    """Return the columns of the ones of each row, filled up with d: an index for a table of coefficients."""
    counts = np.diff(X.indptr)
    rows = np.full((X.shape[0], max(1, int(counts.max()))), X.shape[1], dtype=np.int64)
    rows[np.repeat(np.arange(X.shape[0]), counts), np.arange(X.nnz) - np.repeat(X.indptr[:-1], counts)] = X.indices
    return rows


def _mini_batch(rows: Any, y: Any, task: Task, ridge: float, setting: Setting) -> Answer:
    import torch
    from torch.nn.functional import cross_entropy, embedding_bag

    d, K = task.X.shape[1], task.n_classes
    W = torch.zeros(d + 1, K, requires_grad=True)  # the last row stands for an absent word and is left out
    b = torch.log(torch.bincount(y, minlength=K).float() / len(y)).requires_grad_()
    optimizer = torch.optim.Adam([W, b], lr=setting["rate"])
    steps = setting["epochs"] * -(-len(y) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(setting["epochs"]):
        for chosen in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            logits = embedding_bag(rows[chosen], W, mode="sum", padding_idx=d) + b
            loss = cross_entropy(logits, y[chosen]) + ridge / 2 * (W[:d] * W[:d]).sum()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Answer([W[:d].detach().numpy().T.astype(np.float64)], [b.detach().numpy().astype(np.float64)])
