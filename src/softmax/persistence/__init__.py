"""Saving and loading fitted models, and their exports: safetensors, ONNX, a model card. No pickle, nothing executed.

`_codec` turns values and arrays of any label dtype into JSON and numeric tensors, `_format` those into the bytes of a
file and back, `_save` moves them between models and disk. `_describe` says in plain values what a model is; `_onnx`
with `_onnx_verify`, `_card` and `_plain` write that down for others.
"""

from .._files import replace_file
from ._card import column_words, model_card
from ._codec import printable
from ._describe import Description, describe, finite, meaning
from ._onnx import to_onnx
from ._plain import plain, to_json
from ._save import load, load_with_content, save

__all__ = [
    "Description",
    "column_words",
    "describe",
    "finite",
    "load",
    "load_with_content",
    "meaning",
    "model_card",
    "plain",
    "printable",
    "replace_file",
    "save",
    "to_json",
    "to_onnx",
]
