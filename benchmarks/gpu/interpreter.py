"""Triton's interpreter as the kernels need it: rounding as a GPU does, looking up its own names once a launch."""

from __future__ import annotations

from typing import Any

import numpy as np


def repair() -> None:
    """Round to bfloat16 to nearest, ties to even (it cuts off), and patch Triton's language once for each launch.

    The interpreter patches the language again at every call of a device function, which takes most of its time.
    """
    import torch
    import triton.language as tl
    from triton.runtime import interpreter

    builder: Any = type(interpreter.interpreter_builder)
    if hasattr(builder, "cut_off"):
        return
    builder.cut_off = builder.cast_impl
    builder.to_fp = builder.create_fp_to_fp

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        if dst_type.scalar == tl.bfloat16 and src.data.dtype.kind == "f":
            values = torch.from_numpy(np.ascontiguousarray(src.data)).to(torch.bfloat16)
            data = values.view(torch.int16).numpy().view(np.uint16)
            return interpreter.TensorHandle(data, dst_type.scalar)
        return self.cut_off(src, dst_type)

    def create_fp_to_fp(self: Any, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
        if dst_type.scalar == tl.bfloat16:
            return self.cast_impl(src, dst_type)
        return self.to_fp(src, dst_type, rounding_mode)

    builder.cast_impl = cast_impl
    builder.create_fp_to_fp = create_fp_to_fp

    patched: set[str] = set()
    launch = interpreter.GridExecutor.__call__

    def call_kernel(self: Any, *args: Any, **kwargs: Any) -> Any:
        patched.clear()
        return launch(self, *args, **kwargs)

    def call_device_function(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.fn.__module__ not in patched:
            interpreter._patch_lang(self.fn)
            patched.add(self.fn.__module__)
        return self.rewrite()(*args, **kwargs)

    interpreter.GridExecutor.__call__ = call_kernel
    interpreter.InterpretedFunction.__call__ = call_device_function
