"""How a network is fitted through PyTorch: `train` by Adam on mini-batches, `descend` by L-BFGS on all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from softmax._errors import OptionError

from ._modules import LinearCrossEntropy

Array = npt.NDArray[Any]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
}
DECAY = 5.0  # what the learning rate is divided by where progress ends
REDUCTIONS = 3  # how often; at the next end of progress the fit is over
FULL = 4096  # rows of a batch where their gradients are only added up
LITTLE = 2**24  # multiplications of a step up to which a second thread costs more than it brings


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows (n, d), dense or CSR; class codes (n,) or probabilities (n, K); weights (n,) of mean 1, or None.

    Arrays of NumPy, or tensors where a trainer has placed them.
    """

    X: Any
    targets: Any
    weights: Any

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def part(self, index: npt.NDArray[np.intp] | slice) -> Rows:
        """Some of the rows; of weights, the mean is no longer 1."""
        return Rows(self.X[index], self.targets[index], None if self.weights is None else self.weights[index])


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch, in nats per unit of weight; `validation` is the loss of rows held out."""

    number: int
    objective: float
    validation: float | None
    learning_rate: float | None


class Trainer:
    """A network on a device, and its optimiser.

    The objective is the mean of weight × cross entropy over the rows plus penalty / 2 · ‖weights‖²; a mini-batch
    estimates it without bias. Intercepts are not penalised.
    """

    def __init__(
        self,
        coefs: Sequence[Array],
        intercepts: Sequence[Array],
        *,
        activation: str,
        learning_rate: float,
        batch_size: int,
        dtype: str,
        device: str,
    ) -> None:
        self.device = chosen_device(device)
        self.dtype = getattr(torch, dtype)
        self.batch_size = batch_size
        self.network, self.head = build(coefs, intercepts, activation, self.dtype, self.device)
        layers = [module for module in [*self.network, self.head] if hasattr(module, "weight")]
        self._weights = [layer.weight for layer in layers]
        self._biases = [layer.bias for layer in layers]
        self._all = [*self._weights, *self._biases]
        groups = [{"params": self._weights}, {"params": self._biases}]
        fused = self.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.Adam(groups, lr=learning_rate, fused=fused)

    def placed(self, rows: Rows) -> Rows:
        """The rows on the device, where that is not the CPU and they are dense: moved once and not in every batch."""
        if self.device.type == "cpu" or scipy.sparse.issparse(rows.X):
            return rows
        weights = None if rows.weights is None else self._tensor(rows.weights, self.dtype)
        return Rows(self._tensor(rows.X, self.dtype), self._tensor(rows.targets, self._target_dtype(rows)), weights)

    def epoch(self, rows: Rows, penalty: float, rng: np.random.RandomState) -> float:
        """Pass once over the rows in an order of its own; returns the objective, averaged over the way."""
        self.optimiser.param_groups[0]["weight_decay"] = penalty  # Adam adds penalty · weights to the gradient
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in _batches(rows, rng.permutation(len(rows)), self.batch_size):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self._loss(batch)
            loss.backward()
            self.optimiser.step()
            total += loss.detach() * len(batch)
        return float(total) / len(rows) + 0.5 * penalty * self._squares()

    def value_and_gradient(self, rows: Rows, penalty: float) -> tuple[float, Array]:
        """The objective of all rows, and its gradient as one vector in float64."""
        total = 0.5 * penalty * self._squares()
        for tensor in self._weights:
            tensor.grad = penalty * tensor.detach()
        for tensor in self._biases:
            tensor.grad = torch.zeros_like(tensor)
        for batch in _batches(rows, None, max(self.batch_size, FULL)):
            loss = self._loss(batch) * (len(batch) / len(rows))
            loss.backward()
            total += float(loss.detach())
        gradient = parameters_to_vector([tensor.grad for tensor in self._all])
        return total, gradient.double().cpu().numpy()

    @torch.no_grad()
    def validate(self, rows: Rows) -> float:
        """The mean loss of other rows."""
        total = sum(float(self._loss(batch)) * len(batch) for batch in _batches(rows, None, self.batch_size))
        return total / (len(rows) if rows.weights is None else float(rows.weights.sum()))

    @torch.no_grad()
    def parameters(self) -> tuple[list[Array], list[Array]]:
        """Copies of the weights, each (width before, width after), and of the intercepts."""
        coefs = [np.ascontiguousarray(weight.T.cpu().numpy()) for weight in self._weights]
        return coefs, [bias.cpu().numpy().copy() for bias in self._biases]

    def snapshot(self) -> Array:
        """All parameters as one vector in float64."""
        return parameters_to_vector(self._all).detach().double().cpu().numpy().copy()

    def restore(self, snapshot: Array) -> None:
        """Take up the parameters of a snapshot."""
        vector = torch.as_tensor(snapshot).to(device=self.device, dtype=self.dtype)
        with torch.no_grad():
            for tensor, part in zip(self._all, vector.split([t.numel() for t in self._all]), strict=True):
                tensor.copy_(part.view_as(tensor))

    @contextmanager
    def threads(self, n_rows: int) -> Iterator[None]:
        """One thread of PyTorch where a step of `n_rows` is so little that threads would mostly wait for each other."""
        before = torch.get_num_threads()
        if n_rows * sum(tensor.numel() for tensor in self._weights) <= LITTLE:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @property
    def learning_rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def slow_down(self) -> None:
        """Divide the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] /= DECAY

    def _loss(self, batch: Rows) -> Tensor:
        """The mean of weight × loss over the rows of a batch; the weights of all rows have mean 1."""
        X = batch.X.toarray() if scipy.sparse.issparse(batch.X) else batch.X
        hidden = self.network(self._tensor(X, self.dtype))
        target = self._tensor(batch.targets, self._target_dtype(batch))
        if batch.weights is None:
            return self.head.loss(hidden, target, reduction="mean")
        losses = self.head.loss(hidden, target, reduction="none")
        return (losses * self._tensor(batch.weights, losses.dtype)).mean()

    def _target_dtype(self, rows: Rows) -> torch.dtype:
        return self.dtype if rows.targets.ndim == 2 else torch.int64

    def _tensor(self, array: Any, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(array).to(device=self.device, dtype=dtype)

    def _squares(self) -> float:
        return sum(float(weight.detach().double().square().sum()) for weight in self._weights)


def train(
    trainer: Trainer,
    rows: Rows,
    held_out: Rows | None,
    *,
    penalty: float,
    max_epochs: int,
    patience: int,
    tol: float,
    rng: np.random.RandomState,
    tell: Callable[[Epoch], None],
) -> tuple[str, list[Epoch]]:
    """Fit until progress ends at every learning rate; leaves the trainer with the best parameters it has seen.

    What is watched is the loss of the rows held out, or without any the objective. Where it has not fallen by `tol` in
    `patience` epochs, the best parameters so far are taken up again with a smaller learning rate.

    Returns why the fit ended, and what each epoch gave. `tell` may raise StopIteration to end it.
    """
    rows, held_out = trainer.placed(rows), None if held_out is None else trainer.placed(held_out)
    epochs: list[Epoch] = []
    best, since, reductions, kept = np.inf, 0, 0, trainer.snapshot()
    status = "max_epochs"
    try:
        for number in range(1, max_epochs + 1):
            with trainer.threads(trainer.batch_size):
                objective = trainer.epoch(rows, penalty, rng)
                validation = None if held_out is None else trainer.validate(held_out)
            epochs.append(Epoch(number, objective, validation, trainer.learning_rate))
            watched = objective if validation is None else validation
            if not np.isfinite(watched):
                status = "diverged"
                break
            since = 0 if watched < best - tol else since + 1
            if watched < best:
                best, kept = watched, trainer.snapshot()
            tell(epochs[-1])
            if since < patience:
                continue
            if reductions == REDUCTIONS:
                status = "no progress" if held_out is None else "early stopping"
                break
            trainer.restore(kept)
            trainer.slow_down()
            reductions, since = reductions + 1, 0
    except (KeyboardInterrupt, StopIteration):
        status = "interrupted"
    trainer.restore(kept)
    return status, epochs


def descend(
    trainer: Trainer, rows: Rows, *, penalty: float, max_iter: int, tol: float, tell: Callable[[Epoch], None]
) -> tuple[str, list[Epoch]]:
    """Fit by L-BFGS on all rows, until no entry of the gradient is above `tol`; returns as `train` does."""
    rows = trainer.placed(rows)
    epochs: list[Epoch] = []
    reached = trainer.snapshot()

    def value(parameters: Array) -> tuple[float, Array]:
        trainer.restore(parameters)
        return trainer.value_and_gradient(rows, penalty)

    def note(intermediate_result: Any) -> None:
        nonlocal reached
        reached = intermediate_result.x.copy()
        epochs.append(Epoch(len(epochs) + 1, float(intermediate_result.fun), None, None))
        tell(epochs[-1])

    options = {"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol, "ftol": 0.0, "maxcor": 30}
    try:
        with trainer.threads(min(len(rows), FULL)):
            found = scipy.optimize.minimize(
                value, reached, jac=True, method="L-BFGS-B", callback=_unstopped(note), options=options
            )
        status = "converged" if found.success else "max_epochs" if found.status == 1 else "no progress"
    except (KeyboardInterrupt, _StoppedError):
        status = "interrupted"
    trainer.restore(reached)
    return status if np.isfinite(reached).all() else "diverged", epochs


class _StoppedError(Exception):
    """Stands for StopIteration, which SciPy would take for the end of its own work."""


def _unstopped(note: Callable[[Any], None]) -> Callable[[Any], None]:
    def call(intermediate_result: Any) -> None:
        try:
            note(intermediate_result)
        except StopIteration as stop:
            raise _StoppedError from stop

    return call


def _batches(rows: Rows, order: npt.NDArray[np.intp] | None, size: int) -> Iterator[Rows]:
    """The rows in an order, or as they are, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows.part(slice(start, start + size) if order is None else order[start : start + size])


def build(
    coefs: Sequence[Array], intercepts: Sequence[Array], activation: str, dtype: torch.dtype, device: torch.device
) -> tuple[nn.Sequential, LinearCrossEntropy]:
    """The layers before the last one, and the last one with its loss."""
    network = nn.Sequential()
    for coef, intercept in zip(coefs[:-1], intercepts[:-1], strict=True):
        layer = nn.Linear(coef.shape[0], coef.shape[1], device="meta")
        _fill(layer, coef, intercept, dtype, device)
        network.extend([layer, ACTIVATIONS[activation]()])
    head = LinearCrossEntropy(*coefs[-1].shape, device="meta")
    _fill(head, coefs[-1], intercepts[-1], dtype, device)
    return network, head


def _fill(layer: Any, coef: Array, intercept: Array, dtype: torch.dtype, device: torch.device) -> None:
    layer.weight = nn.Parameter(torch.tensor(np.ascontiguousarray(coef.T), dtype=dtype, device=device))
    layer.bias = nn.Parameter(torch.tensor(intercept, dtype=dtype, device=device))


def chosen_device(name: Any) -> torch.device:
    """The device of that name; "auto" is a GPU of CUDA where there is one.

    Raises
    ------
    OptionError
        If there is none of that name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(f"device must be 'auto' or one that PyTorch has here, got {name!r}: {first}") from None
    return device
