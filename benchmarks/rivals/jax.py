"""JAX on the CPU: `jax.nn`, compiled by `jax.jit` before the clock starts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.registry import Case
from benchmarks.rivals import Implementation

NAME = "JAX"
DISTRIBUTION = "jax"
NOTE = (
    "jax.jit of jax.nn, compiled and the array placed beforehand, block_until_ready in the time; threads by XLA_FLAGS "
    "and by the processors the process may use. Masked: where=. Gradients: jax.vjp and jax.value_and_grad."
)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


def _cross_entropy(x: Any, target: Any) -> Any:
    picked = jnp.take_along_axis(x, target[:, None], axis=-1)[:, 0]
    return (jax.nn.logsumexp(x, axis=-1) - picked).mean()


def implementations(case: Case, arrays: dict[str, Any], threads: int) -> list[Implementation]:
    """Return JAX's way to compute the case."""
    axis = case.axis
    functions = {
        "softmax": lambda x: jax.nn.softmax(x, axis=axis),
        "log_softmax": lambda x: jax.nn.log_softmax(x, axis=axis),
        "logsumexp": lambda x: jax.nn.logsumexp(x, axis=axis),
        "masked_softmax": lambda x, where: jax.nn.softmax(x, axis=axis, where=where),
        "softmax_vjp": lambda x, g: jax.vjp(lambda z: jax.nn.softmax(z, axis=axis), x)[1](g)[0],
        "cross_entropy_and_grad": jax.value_and_grad(_cross_entropy),
    }
    compiled = jax.jit(functions[case.operation])
    placed = [jnp.asarray(array) for array in arrays.values()]

    def result(value: Any) -> tuple[Any, ...]:
        return tuple(np.asarray(v) for v in (value if isinstance(value, tuple) else (value,)))

    return [Implementation(NAME, lambda: jax.block_until_ready(compiled(*placed)), result)]
