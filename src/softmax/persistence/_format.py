"""The bytes of a model file.

A safetensors file (eight bytes of length, a JSON header, the numbers) whose ``__metadata__`` holds four strings:
`format`, always "softmax-model"; `version` of the layout; `header`, JSON with the kind of model, its state, the
description of its arrays and the versions of the libraries that wrote it; `sha256` over the version, the header and
every tensor with its name, dtype and shape.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from softmax._errors import ModelFileError

from ._codec import decode_arrays, dump_json, encode_arrays, load_json

FORMAT = "softmax-model"
VERSION = 1
LENGTH_BYTES = 8
# No header of ours comes near; a larger length means that the first eight bytes are something else.
LARGEST_HEADER = 100_000_000

Array = npt.NDArray[Any]


def to_bytes(content: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Return the file that holds `content` (plain values) and `arrays`."""
    described, tensors = encode_arrays(arrays)
    header = dump_json({**content, "arrays": described})
    metadata = {"format": FORMAT, "version": str(VERSION), "header": header}
    metadata["sha256"] = _checksum(metadata["version"], header, tensors)
    data: bytes = safetensors.numpy.save(tensors, metadata)
    return data


def from_bytes(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return content and arrays of a file; `name` is for the messages.

    Raises
    ------
    ModelFileError
        If the bytes are not a whole, undamaged model file of a version that is known here.
    """
    metadata = _metadata(data, name)
    if metadata["version"] != str(VERSION):
        raise ModelFileError(_version_message(metadata["version"], name))
    try:
        tensors = safetensors.numpy.load(data)
        checksum = _checksum(metadata["version"], metadata["header"], tensors)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{name} is damaged ({error}). Copy or save it again.") from None
    if checksum != metadata["sha256"]:
        raise ModelFileError(f"{name} is damaged: its checksum does not fit its content. Copy or save it again.")
    try:
        content = load_json(metadata["header"])
        if missing := {"kind", "state", "versions", "arrays"} - set(content):
            raise KeyError(*sorted(missing))
        arrays = decode_arrays(content.pop("arrays"), tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{name} has a header that this version cannot read ({error!r}).") from None
    return content, arrays


def _metadata(data: bytes, name: str) -> dict[str, str]:
    """The four strings, from the bytes alone, with messages for what else a file can be."""
    again = "Copy or save it again."
    if len(data) <= LENGTH_BYTES:
        raise ModelFileError(f"{name} has only {len(data)} bytes: it is cut off or empty. {again}")
    (length,) = struct.unpack("<Q", data[:LENGTH_BYTES])
    if length > LARGEST_HEADER or data[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        raise ModelFileError(f"{name} is not a softmax model file: {_guess(data)}. Models are written by softmax.save.")
    if LENGTH_BYTES + length > len(data):
        raise ModelFileError(
            f"{name} is cut off: its header has {length} bytes, of which {len(data) - LENGTH_BYTES} are there. {again}"
        )
    try:
        header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
        metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    except (ValueError, RecursionError):
        raise ModelFileError(f"{name} is damaged: its header is not JSON. {again}") from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{name} is a safetensors file, but not a softmax model. Models are written by softmax.save."
        )
    if missing := {"version", "header", "sha256"} - set(metadata):
        raise ModelFileError(f"{name} is damaged: its header has no {' and no '.join(sorted(missing))}. {again}")
    return metadata


def _version_message(version: str, name: str) -> str:
    """What to say about a file of another layout."""
    if version.isdecimal() and int(version) > VERSION:
        newer = f"{name} has file version {version}, and this softmax reads up to {VERSION}."
        return f"{newer} Upgrade: pip install -U softmax"
    return f"{name} is damaged: its file version is {version!r}. Copy or save it again."


def _guess(data: bytes) -> str:
    """What a foreign file seems to be."""
    if data[:1] == b"\x80":
        return "it looks like a pickle, which softmax never loads"
    if data[:2] == b"PK":
        return "it looks like a zip archive"
    return "its first bytes are no safetensors header"


def _checksum(version: str, header: str, tensors: Mapping[str, Array]) -> str:
    """SHA-256 over everything that a model is made from."""
    digest = hashlib.sha256()
    parts = [FORMAT, version, header]
    for name in sorted(tensors):
        parts += [name, tensors[name].dtype.str, repr(tensors[name].shape)]
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<Q", len(encoded)) + encoded)
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
