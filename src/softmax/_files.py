"""Writing a file so that its name never stands for a part of it."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path


class FileChangedError(Exception):
    """A file does not hold what it was expected to hold."""


def replace_file(path: str | os.PathLike[str], data: bytes, *, expected: bytes | None = None) -> None:
    """Write `data` beside `path` and rename it into place; a link stays a link, a device is written to directly.

    Raises
    ------
    FileChangedError
        If `expected` is given and the file holds something else when it is about to be replaced.
    OSError
        If writing fails.

    Either way what was there is unchanged, and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {path}: it is a folder. Name a file in it.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: the folder {target.parent} does not exist.")
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        # Opened like any new file, so that the umask of the process decides who may read it.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        if expected is not None and target.read_bytes() != expected:
            raise FileChangedError(f"{path} has changed")
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can; the file itself is whole either way."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
