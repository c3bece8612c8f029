"""The note or the file that a link names, found as Obsidian finds it."""

from __future__ import annotations

from collections.abc import Iterable


class Links:
    """The names in a vault.

    A link gives a path, or its last part alone: ``[[softmax]]`` is any ``…/softmax.md``. Case does not matter. Of
    several files of one name the one in the folder of the linking note wins, then the one nearest to the root.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(paths, key=lambda path: (path.count("/"), path))
        self._by_name: dict[str, list[str]] = {}
        for path in self._paths:
            self._by_name.setdefault(_key(path.rpartition("/")[2]), []).append(path)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path, those nearest to the root first."""
        return tuple(self._paths)

    def resolve(self, target: str, source: str) -> str | None:
        """Return the path of the file that `target` (a link without ``#`` and ``|``) means in the note `source`.

        An empty target is the note itself. None where there is no such file.
        """
        target = target.strip().replace("\\", "/")
        folder = source.rpartition("/")[0]
        exact = target.startswith(("/", "./", "../"))
        target = _join("" if target.startswith("/") else folder, target) if exact else target.strip("/")
        if not target:
            return source
        key = _key(target)
        found = [path for path in self._by_name.get(key.rpartition("/")[2], ()) if _ends_with(_key(path), key, exact)]
        same = [path for path in found if path.rpartition("/")[0] == folder and "/" not in target]
        whole = [path for path in found if _key(path) == key]
        return next(iter(same or whole or found), None)


def _key(path: str) -> str:
    lower = path.casefold()
    return lower[: -len(".md")] if lower.endswith(".md") else lower


def _ends_with(path: str, target: str, exact: bool) -> bool:
    return path == target or (not exact and path.endswith(f"/{target}"))


def _join(folder: str, target: str) -> str:
    parts = folder.split("/") if folder else []
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
