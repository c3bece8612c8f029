"""Plain Python values to JSON and back without loss, and arrays of any label dtype to numeric tensors or JSON.

JSON has no nan, no tuple, no array and no keys but strings; such values become objects with the one reserved key "$".
An array inside a value is lifted out, and a reference to its name stays in its place.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

TAG = "$"
# No state of ours is half as deep; what is deeper would end a later walk through it.
DEEPEST = 50
# What an array in a file may be: numbers, dates and times with their unit, text, bytes, objects.
DTYPE = re.compile(r"[<>|]([biuf]\d+|[mM]8(\[\w+\])?|[US]\d+|O)")
# An entry of text says how wide it is; a file of a kilobyte must not ask for terabytes.
MOST_TEXT_BYTES = 2**28

Array = npt.NDArray[Any]


def printable(text: str) -> str:
    """Text without what could steer a terminal: other characters than printable ones are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def dump_json(tree: Any) -> str:
    """Return what `to_json` gave as text that is the same for equal values."""
    return json.dumps(tree, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text says, tags and all; ValueError for a key that stands twice, and for nan and infinity."""
    return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)


def to_json(value: Any, where: str, lifted: dict[str, Array]) -> Any:
    """Return `value` as JSON knows it, with tags; arrays are put into `lifted` by their place, `where`.

    Raises
    ------
    TypeError
        If it holds anything but None, bool, int, float, str, bytes, lists, tuples, dicts and NumPy scalars or arrays of
        these.
    """
    if isinstance(value, np.ndarray):
        lifted[where] = value
        return {TAG: "array", "value": where}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, bytes):
        return {TAG: "bytes", "value": value.hex()}
    if isinstance(value, list):
        return [to_json(item, f"{where}[{i}]", lifted) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {TAG: "tuple", "value": [to_json(item, f"{where}[{i}]", lifted) for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and TAG not in value:
            return {key: to_json(item, f"{where}.{key}", lifted) for key, item in value.items()}
        items = value.items()
        pairs = [[to_json(key, where, lifted), to_json(item, f"{where}[{key!r}]", lifted)] for key, item in items]
        return {TAG: "dict", "value": pairs}
    raise TypeError(f"{where} holds a {type(value).__name__}, which a model file cannot hold.")


def from_json(value: Any, arrays: Mapping[str, Array], depth: int = 0) -> Any:
    """Return the value that `to_json` was given, with the arrays it refers to; ValueError or KeyError if it is not
    one.
    """
    if depth > DEEPEST:
        raise ValueError(f"values inside values, {DEEPEST} deep and more")
    below = depth + 1
    if isinstance(value, list):
        return [from_json(item, arrays, below) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: from_json(item, arrays, below) for key, item in value.items()}
    if set(value) != {TAG, "value"}:
        raise ValueError(f"a tagged value with the keys {sorted(value)}")
    inner: Any = value["value"]
    match value[TAG]:
        case "float":
            return float(inner)
        case "bytes":
            return bytes.fromhex(inner)
        case "tuple":
            return tuple(from_json(item, arrays, below) for item in inner)
        case "dict":
            return {from_json(key, arrays, below): from_json(item, arrays, below) for key, item in inner}
        case "array":
            return arrays[inner]
    raise ValueError(f"unknown kind of value {value[TAG]!r}")


def references(value: Any) -> set[str]:
    """Names of the arrays that a parsed JSON value refers to."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    if value.get(TAG) == "array":
        return {str(value.get("value"))}
    return set().union(*map(references, value.values()))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


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
            entry["items"] = [_item(item, f"{name}[{i}]") for i, item in enumerate(array.ravel().tolist())]
        elif isinstance(array.dtype, np.dtypes.StringDType):
            entry |= {"dtype": "StringDType", "items": [str(item) for item in array.ravel()]}
        else:
            raise TypeError(f"{name} has dtype {array.dtype}, which a model file cannot hold.")
        described[name] = entry
    return described, tensors


def _item(value: Any, where: str) -> Any:
    lifted: dict[str, Array] = {}
    item = to_json(value, where, lifted)
    if lifted:
        raise TypeError(f"{where} holds an array inside an array, which a model file cannot hold.")
    return item


def decode_arrays(described: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays that `encode_arrays` was given; KeyError, TypeError or ValueError if the two do not fit."""
    if surplus := set(tensors) - set(described):
        raise ValueError(f"tensors without a description: {sorted(surplus)}")
    return {name: _decoded(name, entry, tensors) for name, entry in described.items()}


def _decoded(name: str, entry: Mapping[str, Any], tensors: Mapping[str, Array]) -> Array:
    if surplus := set(entry) - {"dtype", "shape", "items"}:
        raise ValueError(f"the description of {name} has the unknown keys {sorted(surplus)}")
    shape = tuple(entry["shape"])
    if entry["dtype"] == "StringDType":
        return np.array([str(item) for item in entry["items"]], dtype=np.dtypes.StringDType()).reshape(shape)
    if not DTYPE.fullmatch(entry["dtype"]):
        raise ValueError(f"{name} has the unknown dtype {entry['dtype']!r}")
    dtype = np.dtype(entry["dtype"])
    if dtype.kind in "USO":
        return _decoded_items(name, dtype, entry["items"]).reshape(shape)
    if "items" in entry:
        raise ValueError(f"{name} is {dtype} and should be a tensor, but is a list")
    tensor = tensors[name]
    array = tensor.view(dtype) if dtype.kind in "mM" and tensor.dtype == np.int64 else tensor
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} should be {dtype} {shape}, but is {array.dtype} {array.shape}")
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"{name} is {dtype} and holds bytes that are neither 0 nor 1")
    return array


def _decoded_items(name: str, dtype: np.dtype[Any], items: Any) -> Array:
    """An array of text, bytes or objects from the list of its entries."""
    if not isinstance(items, list):
        raise TypeError(f"the items of {name} should be a list")
    if dtype.kind in "US" and dtype.itemsize * len(items) > MOST_TEXT_BYTES:
        raise ValueError(f"{name} asks for {dtype.itemsize * len(items):,} bytes of text")
    array = np.empty(len(items), dtype=dtype)
    kinds = {"U": str, "S": bytes, "O": object}
    for i, item in enumerate(items):
        value = from_json(item, {})
        if not isinstance(value, kinds[dtype.kind]):
            raise TypeError(f"{name}[{i}] should be {dtype}, but is {value!r}")
        array[i] = value
        if dtype.kind in "US" and array[i] != value:
            raise ValueError(f"{name}[{i}] is longer than its dtype {dtype} allows")
    return array
