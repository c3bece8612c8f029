"""Saving and loading fitted models: one safetensors file with a JSON header, no pickle, nothing executed on loading.

`_codec` turns values and arrays of any label dtype into JSON and numeric tensors, `_format` those into the bytes of a
file and back, `_save` moves them between models and disk.
"""

from ._save import load, save

__all__ = ["load", "save"]
