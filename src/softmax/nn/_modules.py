"""Modules over `cross_entropy` and `linear_cross_entropy`: they hold parameters and options, and compute nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as linear_layer

from softmax import cross_entropy, linear_cross_entropy, log_softmax, logsumexp, softmax
from softmax._checks import check_fraction, check_ignore_index, check_positive, check_reduction, check_temperature
from softmax._errors import ArrayTypeError, ArrayValueError, OptionError
from softmax._typing import Reduction

# Logits that `topk` holds at a time, and classes that it takes at a time.
MOST_LOGITS = 2**22
MOST_CLASSES = 2**14


class CrossEntropyLoss(nn.CrossEntropyLoss):
    r"""Cross entropy of logits, in place of ``torch.nn.CrossEntropyLoss``: the same arguments and state, more options.

    .. math:: \ell = w_y\,\bigl(\mathrm{lse}(z) - z_y\bigr), \qquad
              z = \mathrm{softcap} \cdot \tanh(\mathrm{input} / \mathrm{softcap}) / T

    in nats. It is a subclass of PyTorch's, so that code which asks for one finds one.

    Parameters
    ----------
    weight : Tensor of shape (C,), optional
        A finite weight, 0 or more, for each class. A buffer, in the state dict under the name "weight".
    size_average : bool, optional
        Deprecated by PyTorch, and understood as there: use `reduction`.
    ignore_index : int, default -100
        A class index that counts nothing: loss and gradient 0, and no share in the mean. Without effect on
        probabilities.
    reduce : bool, optional
        Deprecated by PyTorch, and understood as there: use `reduction`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the weight of the targets that are not ignored; for probabilities by the number of rows.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / C.
    z_loss : float, default 0.0
        Add z_loss · lse(z)², which keeps the normaliser near 1.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    temperature : float, default 1.0
        T, a finite number above 0 that divides the (capped) logits.

    Notes
    -----
    Shapes: input (C,), (N, C) or (N, C, d₁, …, dₖ), the class axis 1 (0 for (C,)); target without the class axis, of
    any integer dtype, or of the shape of the input with probabilities, finite and 0 or more. The result is (), or with
    "none" the shape of the input without its class axis.

    The loss is float32 where the input is float16 or bfloat16, where PyTorch's is rounded to the dtype of the input.
    Bad arguments raise the errors of `softmax.cross_entropy`, a class index outside of [0, C) TargetError.

    Examples
    --------
    >>> import torch
    >>> import softmax as sm
    >>> logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]], requires_grad=True)
    >>> loss = sm.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, torch.tensor([0, -100]))
    >>> loss.backward()
    >>> logits.grad.round(decimals=4)
    tensor([[-0.2189,  0.2189],
            [ 0.0000,  0.0000]])
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        *,
        z_loss: float = 0.0,
        softcap: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        check_reduction(self.reduction)
        check_ignore_index(ignore_index)
        check_fraction(label_smoothing, "label_smoothing")
        self.z_loss = check_positive(z_loss, "z_loss", zero=True)
        self.softcap = None if softcap is None else check_positive(softcap, "softcap")
        self.temperature = check_temperature(temperature)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, …) for a target (N, …) of indices or (N, C, …) of probabilities."""
        _refuse_other_device(self.weight, input, "the class weights", "the input")
        loss: Tensor = cross_entropy(
            _logits(input),
            target,
            axis=0 if input.ndim == 1 else 1,
            weight=self.weight,
            ignore_index=None if torch.is_floating_point(target) else self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,  # type: ignore[arg-type]
            z_loss=self.z_loss,
            softcap=self.softcap,
            temperature=self.temperature,
        )
        return loss

    def extra_repr(self) -> str:
        """Return the options that are not at their defaults."""
        return ", ".join(_changed(self, {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0} | LOGITS))


# Options of the logits and their defaults.
LOGITS: dict[str, Any] = {"z_loss": 0.0, "softcap": None, "temperature": 1.0}


class TopK(NamedTuple):
    """The k most probable classes of each row, the most probable first: both `(..., k)`."""

    probabilities: Tensor
    indices: Tensor


class _Head(nn.Module):
    """A weight (K, D) and a bias (K,) named, shaped and initialised as those of ``nn.Linear``, and what to do with x.

    The softmax is taken of z = softcap · tanh((x Wᵀ + b) / softcap) / T.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        *,
        softcap: float | None = None,
        temperature: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        shape = (_size(num_classes, "num_classes"), _size(in_features, "in_features"))
        self.softcap = None if softcap is None else check_positive(softcap, "softcap")
        self.temperature = check_temperature(temperature)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(shape[0], device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, as ``nn.Linear`` does: with the same seed, the same numbers."""
        nn.Linear.reset_parameters(self)  # type: ignore[arg-type]

    @classmethod
    def from_linear(cls, linear: nn.Linear, **options: Any) -> Self:
        """Return a module that shares the weight and the bias of an ``nn.Linear``; `options` as in the class.

        The parameters are the same objects: what trains one trains the other.

        Raises
        ------
        ArrayTypeError
            If `linear` has no weight of shape (K, D).
        """
        weight = getattr(linear, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.ndim != 2:
            raise ArrayTypeError(f"{cls.__name__}.from_linear takes an nn.Linear; got {type(linear).__name__}.")
        bias = getattr(linear, "bias", None)
        # On the device "meta" the parameters that are replaced at once take no memory.
        head = cls(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta", **options)
        head.weight = weight
        head.bias = bias
        return head

    @property
    def in_features(self) -> int:
        """D, the size of an input; that of the weight, also after another one has been tied."""
        return self.weight.shape[1]

    @property
    def num_classes(self) -> int:
        """K."""
        return self.weight.shape[0]

    def logits(self, x: Tensor) -> Tensor:
        """Return what the softmax is taken of, (..., K), after softcap and temperature: they are stored."""
        return self._of_classes(self._checked(x), slice(None))

    def log_proba(self, x: Tensor) -> Tensor:
        """Return the logarithms of the probabilities in nats, (..., K), accurate where a probability underflows."""
        logs: Tensor = log_softmax(self.logits(x))
        return logs

    def predict_proba(self, x: Tensor) -> Tensor:
        """Return the probabilities (..., K) of inputs (..., D)."""
        probabilities: Tensor = softmax(self.logits(x))
        return probabilities

    @torch.no_grad()
    def topk(self, x: Tensor, k: int = 1) -> TopK:
        """Return the k most probable classes, without storing more than 2²² logits at a time; there is no gradient.

        Parameters
        ----------
        x : Tensor, shape (..., D)
        k : int, default 1
            In [1, K].

        Returns
        -------
        TopK
            ``probabilities (..., k)``, float32 or wider, and ``indices (..., k)``, int64; the most probable first.
        """
        x = self._checked(x)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self.num_classes:
            raise OptionError(f"k must be an integer in [1, {self.num_classes}], the number of classes; got {k!r}.")
        rows = x.reshape(-1, self.in_features)
        step = max(1, MOST_LOGITS // min(self.num_classes, MOST_CLASSES))
        parts = [self._topk_of_rows(rows[start : start + step], k) for start in range(0, max(len(rows), 1), step)]
        shape = (*x.shape[:-1], k)
        return TopK(*(torch.cat(part).reshape(shape) for part in zip(*parts, strict=True)))

    def _topk_of_rows(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Probabilities and classes from one pass over the classes, block by block."""
        best = index = lse = None
        for start in range(0, self.num_classes, MOST_CLASSES):
            block = self._of_classes(rows, slice(start, start + MOST_CLASSES))
            block = block.to(torch.promote_types(block.dtype, torch.float32))
            part = logsumexp(block)
            lse = part if lse is None else torch.logaddexp(lse, part)
            values, places = block.topk(min(k, block.shape[1]))
            places = places + start
            if best is not None and index is not None:
                values, places = torch.cat([best, values], 1), torch.cat([index, places], 1)
                values, order = values.topk(min(k, values.shape[1]))
                places = places.gather(1, order)
            best, index = values, places
        assert best is not None  # for the checker of types: K is not 0
        assert index is not None
        assert lse is not None
        return torch.exp(best - lse[:, None]), index

    def _of_classes(self, x: Tensor, classes: slice) -> Tensor:
        """Logits of some classes."""
        z = linear_layer(x, self.weight[classes], None if self.bias is None else self.bias[classes])
        if self.softcap is not None:
            z = self.softcap * torch.tanh(z / self.softcap)
        return z if self.temperature == 1.0 else z / self.temperature

    def _checked(self, x: Tensor) -> Tensor:
        """`x` if the weight can be multiplied by it."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ArrayTypeError(f"x must be a tensor of floating numbers; got {got}. Cast it first.")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ArrayValueError(
                f"x must have shape (..., {self.in_features}), the features last; got {tuple(x.shape)}."
            )
        _refuse_other_device(self.weight, x, "the weight", "x")
        if x.dtype != self.weight.dtype and not _autocast(x, self.weight):
            raise ArrayTypeError(
                f"x is {x.dtype} and the weight {self.weight.dtype}. Pass x.to({self.weight.dtype}), or call under "
                "torch.autocast."
            )
        return x

    def extra_repr(self) -> str:
        """Return sizes, and the options that are not at their defaults."""
        sizes = [f"in_features={self.in_features}", f"num_classes={self.num_classes}", f"bias={self.bias is not None}"]
        return ", ".join([*sizes, *self._options()])

    def _options(self) -> Iterator[str]:
        return _changed(self, {"softcap": None, "temperature": 1.0})


class LinearCrossEntropy(_Head):
    r"""The last layer of a classifier and its loss in one, which never stores the logits of all rows.

    .. math:: \ell = w_y\,\bigl(\mathrm{lse}(z) - z_y\bigr), \qquad
              z = \mathrm{softcap} \cdot \tanh\bigl((x W^T + b) / \mathrm{softcap}\bigr) / T

    in nats. It stands for an ``nn.Linear`` followed by `CrossEntropyLoss`; the state dict is that of the ``nn.Linear``.

    Parameters
    ----------
    in_features : int
        D, the size of an input.
    num_classes : int
        K.
    bias : bool, default True
        Whether there is a bias (K,).
    weight : Tensor of shape (K,), optional
        A finite weight, 0 or more, for each class; a buffer, `class_weight`, that is not in the state dict.
    ignore_index : int, default -100
        A class index that counts nothing: loss and gradient 0, and no share in the mean. Without effect on
        probabilities.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / K.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the weight of the targets that are not ignored; for probabilities by the number of rows.
    z_loss : float, default 0.0
        Add z_loss · lse(z)², which keeps the normaliser near 1.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    temperature : float, default 1.0
        T, a finite number above 0 that divides the (capped) logits.
    memory_budget : int or float, optional
        Of `softmax.linear_cross_entropy`: bytes, or a fraction of what is free.
    device : torch.device or str, optional
        Where weight and bias are.
    dtype : torch.dtype, optional
        Theirs.

    Attributes
    ----------
    weight : Parameter of shape (K, D)
        To tie it, assign a parameter: ``head.weight = embedding.weight``, or call ``from_linear``.
    bias : Parameter of shape (K,) or None

    Notes
    -----
    Shapes: x (..., D); target (...) of class indices of any integer dtype, or (..., K) of probabilities. Unlike in
    `CrossEntropyLoss` there is no class axis to be found: rows come first, features last.

    Calling the module gives the loss, which is what DDP, FSDP, hooks and torch.compile see. The other methods are for a
    module that holds its weight whole; under FSDP (``fully_shard``) make them known with
    ``torch.distributed.fsdp.register_fsdp_forward_method(head, "topk")``.

    Examples
    --------
    >>> import torch
    >>> import softmax as sm
    >>> head = sm.nn.LinearCrossEntropy(64, 50_000)
    >>> x, target = torch.randn(8, 64), torch.randint(50_000, (8,))
    >>> head(x, target).backward()
    >>> head.topk(x, 5).indices.shape
    torch.Size([8, 5])
    """

    class_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
        z_loss: float = 0.0,
        softcap: float | None = None,
        temperature: float = 1.0,
        memory_budget: int | float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features, num_classes, bias, softcap=softcap, temperature=temperature, device=device, dtype=dtype
        )
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise ArrayValueError(f"weight must have shape ({num_classes},), one per class; got {tuple(weight.shape)}.")
        self.register_buffer("class_weight", weight, persistent=False)
        self.ignore_index = ignore_index
        check_ignore_index(ignore_index)
        self.label_smoothing = check_fraction(label_smoothing, "label_smoothing")
        self.reduction = check_reduction(reduction)
        self.z_loss = check_positive(z_loss, "z_loss", zero=True)
        self.memory_budget = memory_budget

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of inputs (..., D) for a target (...) of indices or (..., K) of probabilities."""
        return self.loss(x, target)

    def loss(self, x: Tensor, target: Tensor, *, reduction: Reduction | None = None) -> Tensor:
        """Return the same as a call does, with another reduction if one is named."""
        x = self._checked(x)
        _refuse_other_device(self.class_weight, x, "the class weights", "x")
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if _autocast(x, weight):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        loss: Tensor = linear_cross_entropy(
            x,
            weight,
            target,
            bias,
            weight=self.class_weight,
            ignore_index=None if torch.is_floating_point(target) else self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction if reduction is None else reduction,
            z_loss=self.z_loss,
            softcap=self.softcap,
            temperature=self.temperature,
            memory_budget=self.memory_budget,
        )
        return loss

    def _options(self) -> Iterator[str]:
        defaults = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean", "memory_budget": None}
        return _changed(self, defaults | LOGITS)


class SoftmaxOutput(_Head):
    r"""A linear layer whose output are probabilities: p = softmax(z), z = softcap · tanh((x Wᵀ + b) / softcap) / T.

    For networks that give probabilities, and for serving: the state dict is that of an ``nn.Linear`` and of
    `LinearCrossEntropy`, so that a head trained by either loads here. For training, `loss` takes the logits and not the
    probabilities, whose logarithm would be lost where they underflow.

    Parameters
    ----------
    in_features : int
        D, the size of an input.
    num_classes : int
        K.
    bias : bool, default True
        Whether there is a bias (K,).
    log : bool, default False
        Whether a call gives logarithms of the probabilities, for ``nn.NLLLoss`` and its kin.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    temperature : float, default 1.0
        T, a finite number above 0 that divides the (capped) logits: above 1 less extreme probabilities, below 1 more.
        It is an option and not in the state dict; it may be set at any time.
    device : torch.device or str, optional
        Where weight and bias are.
    dtype : torch.dtype, optional
        Theirs.

    Attributes
    ----------
    weight : Parameter of shape (K, D)
    bias : Parameter of shape (K,) or None

    Notes
    -----
    Shapes: x (..., D) gives (..., K), in the dtype of the logits; rows sum to 1 up to rounding.

    Examples
    --------
    >>> import torch
    >>> import softmax as sm
    >>> _ = torch.manual_seed(0)
    >>> layer = sm.nn.SoftmaxOutput(4, 3)
    >>> with torch.no_grad():
    ...     p = layer(torch.zeros(2, 4))
    >>> p.sum(dim=-1)
    tensor([1., 1.])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        *,
        log: bool = False,
        softcap: float | None = None,
        temperature: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features, num_classes, bias, softcap=softcap, temperature=temperature, device=device, dtype=dtype
        )
        self.log = bool(log)

    def forward(self, x: Tensor) -> Tensor:
        """Return the probabilities (..., K) of inputs (..., D), or with `log` their logarithms in nats."""
        return self.log_proba(x) if self.log else self.predict_proba(x)

    def loss(self, x: Tensor, target: Tensor, *, ignore_index: int = -100, reduction: Reduction = "mean") -> Tensor:
        """Return the cross entropy in nats for a target (...) of indices or (..., K) of probabilities."""
        if torch.is_floating_point(target):
            return cross_entropy(self.logits(x), target, reduction=reduction)  # type: ignore[no-any-return]
        return cross_entropy(self.logits(x), target, ignore_index=ignore_index, reduction=reduction)  # type: ignore[no-any-return]

    def _options(self) -> Iterator[str]:
        return _changed(self, {"log": False, "softcap": None, "temperature": 1.0})


def _autocast(*tensors: Tensor) -> bool:
    """Whether autocast changes the dtype of a product of these; it leaves float64 alone."""
    device = tensors[0].device.type
    return torch.is_autocast_enabled(device) and all(t.dtype != torch.float64 for t in tensors)


def _changed(module: nn.Module, defaults: dict[str, Any]) -> Iterator[str]:
    """Options that are not at their defaults."""
    values = ((name, getattr(module, name)) for name in defaults)
    return (f"{name}={value!r}" for name, value in values if value != defaults[name])


def _size(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be an integer, 1 or more; got {value!r}.")
    return value


def _logits(input: Any) -> Tensor:
    """The input, where it is a tensor of floating numbers with a class axis; integers are a mistake here."""
    if not isinstance(input, Tensor) or not input.is_floating_point():
        got = f"a tensor of {input.dtype}" if isinstance(input, Tensor) else f"a {type(input).__name__}"
        raise ArrayTypeError(f"the input must be a tensor of logits, floating numbers; got {got}. Cast it first.")
    if input.ndim and input.shape[0 if input.ndim == 1 else 1] == 0:
        raise ArrayValueError(f"the input must have a class on its class axis; got shape {tuple(input.shape)}.")
    return input


def _refuse_other_device(held: Tensor | None, given: Tensor, ours: str, theirs: str) -> None:
    if held is not None and held.device != given.device:
        raise ArrayValueError(
            f"{ours} of this module are on {held.device} and {theirs} on {given.device}. Move one: "
            f"module.to({str(given.device)!r})."
        )
