"""The bytes of a model file.

A safetensors file (eight bytes of length, a JSON header, the numbers) whose ``__metadata__`` holds four strings:
`format`, always "softmax-model"; `version` of the layout; `header`, JSON with the kind of model, its state, the
description of its arrays, the versions of the libraries that wrote it and, if asked for, the time; `sha256` over the
version, the header and every tensor with its name, dtype and shape.

Version 2 refers from the state to arrays anywhere in it; version 1 could not.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from softmax._errors import ModelFileError

from ._codec import decode_arrays, dump_json, encode_arrays, from_json, parse_json, printable, references, to_json

FORMAT = "softmax-model"
VERSION = 2
LENGTH_BYTES = 8
# No header of ours comes near; a larger length means that the first eight bytes are something else.
LARGEST_HEADER = 100_000_000
DTYPES = {"b": "BOOL", "i": "I", "u": "U", "f": "F"}
KEYS = {"kind", "state", "versions", "arrays"}
AGAIN = "Copy or save it again."

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Content:
    """What a file holds: `kind`, `state` and `arrays` of a model; `versions` of the libraries that wrote it.

    `created` is the time of saving in ISO format, or None; `version` that of the layout, `sha256` the checksum, which
    fitted.
    """

    kind: str
    state: dict[str, Any]
    arrays: dict[str, Array]
    versions: dict[str, str]
    created: str | None = None
    version: int = VERSION
    sha256: str = ""


def to_bytes(content: Content) -> bytes:
    """Return the file that holds `content`."""
    lifted: dict[str, Array] = {}
    tree: dict[str, Any] = {"kind": content.kind, "versions": content.versions}
    if content.created is not None:
        tree["created"] = content.created
    tree["state"] = to_json(content.state, "state", lifted)
    if twice := set(lifted) & set(content.arrays):
        raise TypeError(f"two arrays are called {twice.pop()!r}.")
    tree["arrays"], tensors = encode_arrays({**content.arrays, **lifted})
    header = dump_json(tree)
    metadata = {"format": FORMAT, "version": str(VERSION), "header": header}
    metadata["sha256"] = _checksum(metadata["version"], header, tensors)
    return _safetensors(tensors, metadata)


def _safetensors(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file. The library's own writer orders the metadata at random, from run to run."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    blocks: list[bytes] = []
    start = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):  # so that each is aligned
        little = tensors[name].astype(tensors[name].dtype.newbyteorder("<"), copy=False)
        stop = start + little.nbytes
        kind = DTYPES[little.dtype.kind] + (str(8 * little.dtype.itemsize) if little.dtype.kind != "b" else "")
        header[name] = {"dtype": kind, "shape": list(little.shape), "data_offsets": [start, stop]}
        blocks.append(little.tobytes())
        start = stop
    try:
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise TypeError(
            f"a label, name or parameter holds {error.object[error.start]!r}, half a character, which a model file "
            "cannot hold. Was text read with the wrong encoding?"
        ) from None
    text += b" " * (-len(text) % LENGTH_BYTES)
    if len(text) > LARGEST_HEADER:
        raise ModelFileError(
            f"the labels, names and parameters of this model take {len(text):,} bytes, more than the "
            f"{LARGEST_HEADER:,} that a model file can hold. Use shorter labels or names, or integers."
        )
    return b"".join([struct.pack("<Q", len(text)), text, *blocks])


def read_file(path: Path, name: str) -> Content:
    """Return the content of a file, of which no more is read than is needed to see that it is none of ours.

    Raises
    ------
    ModelFileError
        As `from_bytes` does.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(LENGTH_BYTES + 1)
        length = _header_length(data, name)
        data += file.read(length - 1)
        _metadata(data, name)
        return from_bytes(data + file.read(), name)


def from_bytes(data: bytes, name: str) -> Content:
    """Return the content of a file; `name` is for the messages.

    Raises
    ------
    ModelFileError
        If the bytes are not a whole, undamaged model file of a version that is known here.
    """
    metadata = _metadata(data, name)
    version = metadata["version"]
    if version not in map(str, range(1, VERSION + 1)):
        raise ModelFileError(_version_message(version, name))
    try:
        tensors = safetensors.numpy.load(data)
        checksum = _checksum(version, metadata["header"], tensors)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{name} is damaged ({printable(str(error))}). {AGAIN}") from None
    if checksum != metadata["sha256"]:
        raise ModelFileError(f"{name} is damaged: its checksum does not fit its content. {AGAIN}")
    try:
        return _content(parse_json(metadata["header"]), tensors, int(version), checksum)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{name} has a header that this version cannot read ({error!r}).") from None


def _content(header: Any, tensors: Mapping[str, Array], version: int, checksum: str) -> Content:
    """The content from the parsed header and the tensors; one of many exceptions if the two are not a model."""
    if missing := KEYS - set(header):
        raise KeyError(*sorted(missing))
    if surplus := set(header) - KEYS - {"created"}:
        raise ValueError(f"the unknown keys {sorted(surplus)}")
    # Version 1 put tags on the tags of its descriptions.
    arrays = decode_arrays(header["arrays"] if version > 1 else from_json(header["arrays"], {}), tensors)
    inner = references(header["state"])
    state = from_json(header["state"], arrays)
    if not isinstance(state, dict) or not isinstance(header["kind"], str):
        raise TypeError("the kind should be text, and the state an object")
    return Content(
        kind=header["kind"],
        state=state,
        arrays={key: array for key, array in arrays.items() if key not in inner},
        versions={printable(str(key)): printable(str(value)) for key, value in header["versions"].items()},
        created=None if header.get("created") is None else datetime.fromisoformat(header["created"]).isoformat(),
        version=version,
        sha256=checksum,
    )


def _header_length(data: bytes, name: str) -> int:
    """The length of the header, from the first bytes, with messages for what else a file can be."""
    if len(data) <= LENGTH_BYTES:
        raise ModelFileError(f"{name} has only {len(data)} bytes: it is cut off or empty. {AGAIN}")
    (length,) = struct.unpack("<Q", data[:LENGTH_BYTES])
    if not 1 <= length <= LARGEST_HEADER or data[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        raise ModelFileError(f"{name} is not a softmax model file: {_guess(data)}. Models are written by softmax.save.")
    return int(length)


def _metadata(data: bytes, name: str) -> dict[str, str]:
    """The four strings, from the bytes alone."""
    length = _header_length(data, name)
    if LENGTH_BYTES + length > len(data):
        raise ModelFileError(
            f"{name} is cut off: its header has {length} bytes, of which {len(data) - LENGTH_BYTES} are there. {AGAIN}"
        )
    try:
        header = parse_json(data[LENGTH_BYTES : LENGTH_BYTES + length])
        metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    except (ValueError, RecursionError) as error:
        twice = f": {printable(str(error))}" if "stands twice" in str(error) else ""
        raise ModelFileError(f"{name} is damaged: its header is not JSON{twice}. {AGAIN}") from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{name} is a safetensors file, but not a softmax model. Models are written by softmax.save."
        )
    if missing := {"version", "header", "sha256"} - set(metadata):
        raise ModelFileError(f"{name} is damaged: its header has no {' and no '.join(sorted(missing))}. {AGAIN}")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError(f"{name} is damaged: its header holds something else than text. {AGAIN}")
    return metadata


def _version_message(version: str, name: str) -> str:
    """What to say about a file of another layout."""
    if version.isdecimal() and int(version) > VERSION:
        newer = f"{name} has file version {version}, and this softmax reads up to {VERSION}."
        return f"{newer} Upgrade: pip install -U softmax"
    return f"{name} is damaged: its file version is {version!r}. {AGAIN}"


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
