"""Plain Python values to JSON and back without loss, and arrays of any label dtype to numeric tensors or JSON.

JSON has no nan, no tuple and no keys but strings; such values become objects with the one reserved key "$".
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

TAG = "$"
Array = npt.NDArray[Any]


def dump_json(value: Any) -> str:
    """Return `value` as JSON text that is the same for equal values.

    Raises
    ------
    TypeError
        If it holds anything but None, bool, int, float, str, lists, tuples, dicts and NumPy scalars or arrays of these.
    """
    return json.dumps(
        _to_json(value, "header"), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def load_json(text: str) -> Any:
    """Return the value that `dump_json` was given; ValueError if the text is not such JSON."""
    return _from_json(json.loads(text))


def _to_json(value: Any, where: str) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, bytes):
        return {TAG: "bytes", "value": value.hex()}
    if isinstance(value, list):
        return [_to_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {TAG: "tuple", "value": [_to_json(item, f"{where}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and TAG not in value:
            return {key: _to_json(item, f"{where}.{key}") for key, item in value.items()}
        pairs = [[_to_json(key, where), _to_json(item, f"{where}[{key!r}]")] for key, item in value.items()]
        return {TAG: "dict", "value": pairs}
    raise TypeError(f"{where} holds a {type(value).__name__}, which a model file cannot hold.")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _from_json(item) for key, item in value.items()}
    inner: Any = value.get("value")
    match value[TAG]:
        case "float":
            return float(inner)
        case "bytes":
            return bytes.fromhex(inner)
        case "tuple":
            return tuple(_from_json(item) for item in inner)
        case "dict":
            return {_from_json(key): _from_json(item) for key, item in inner}
    raise ValueError(f"unknown kind of value {value[TAG]!r}")


def encode_arrays(arrays: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Describe every array, and return the tensors: numbers as they are, dates as integers.

    Strings and objects stand in the description itself.
    """
    described: dict[str, Any] = {}
    tensors: dict[str, Array] = {}
    for name, array in arrays.items():
        entry: dict[str, Any] = {"dtype": array.dtype.newbyteorder("=").str, "shape": list(array.shape)}
        if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
            tensors[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        elif array.dtype.kind in "mM":
            tensors[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C").view(np.int64)
        elif array.dtype.kind in "USO":
            entry["items"] = [_to_json(item, f"{name}[{i}]") for i, item in enumerate(array.ravel().tolist())]
        elif isinstance(array.dtype, np.dtypes.StringDType):
            entry |= {"dtype": "StringDType", "items": [str(item) for item in array.ravel()]}
        else:
            raise TypeError(f"{name} has dtype {array.dtype}, which a model file cannot hold.")
        described[name] = entry
    return described, tensors


def decode_arrays(described: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays that `encode_arrays` was given; KeyError, TypeError or ValueError if the two do not fit."""
    if surplus := set(tensors) - set(described):
        raise ValueError(f"tensors without a description: {sorted(surplus)}")
    arrays: dict[str, Array] = {}
    for name, entry in described.items():
        shape = tuple(entry["shape"])
        if entry["dtype"] == "StringDType":
            arrays[name] = np.array(entry["items"], dtype=np.dtypes.StringDType()).reshape(shape)
            continue
        dtype = np.dtype(entry["dtype"])
        if "items" in entry:
            array = np.empty(len(entry["items"]), dtype=dtype)
            for i, item in enumerate(entry["items"]):
                array[i] = _from_json(item)
            arrays[name] = array.reshape(shape)
        else:
            tensor = tensors[name]
            array = tensor.view(dtype) if dtype.kind in "mM" else tensor
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(f"{name} should be {dtype} {shape}, but is {array.dtype} {array.shape}")
            arrays[name] = array
    return arrays
