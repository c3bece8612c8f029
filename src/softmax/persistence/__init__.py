"""Saving and loading fitted models, and their exports: safetensors, ONNX, a model card. No pickle, nothing executed.

`_codec` turns values and arrays of any label dtype into JSON and numeric tensors, `_format` those into the bytes of a
file and back, `_save` moves them between models and disk, `_files` replaces files whole. `_describe` says in plain
values what a model is; `_onnx` with `_onnx_verify`, `_card` and `_plain` write that down for others.
"""

from ._card import model_card
from ._onnx import to_onnx
from ._save import load, save

__all__ = ["load", "model_card", "save", "to_onnx"]
