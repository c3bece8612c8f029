"""``softmax info``: what a model file holds, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from softmax.persistence import Description

    from ._screen import Screen

MOST_CLASSES = 20
MOST_COLUMNS = 30
MOST_FEATURES = 12


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
def info(model: str, as_json: bool) -> None:
    """Say what MODEL is: classes, columns, certificate, versions, and whether the file is whole.

    MODEL is a file that "softmax fit" or softmax.save wrote. Nothing in it is executed; a damaged file is refused.

    \b
    Example:
      softmax info digits.safetensors
    """  # noqa: D301 - click reads the \b
    from softmax.persistence import describe, load_with_content

    loaded, content = load_with_content(model)
    described = describe(loaded, "softmax info")
    file = {
        "path": model,
        "bytes": Path(model).stat().st_size,
        "layout": content.version,
        "sha256": content.sha256,
        "created": content.created,
        "versions": content.versions,
    }
    if as_json:
        click.echo(_as_json(described, file))
        return
    from ._screen import Screen

    _show(Screen(), described, file)


def _as_json(described: Description, file: dict[str, Any]) -> str:
    import json

    from softmax.persistence import finite, meaning, plain

    content = plain(described)
    for name in ("format", "version", "hidden", "coefficients", "intercepts", "versions"):
        content.pop(name, None)
    content["certificate"]["meaning"] = meaning(described.certificate)
    content["record"] = finite(described.record) or None
    return json.dumps({"file": finite(file), "model": content}, indent=2, ensure_ascii=False, allow_nan=False)


def _show(screen: Screen, described: Description, file: dict[str, Any]) -> None:
    from softmax.persistence import meaning
    from softmax.tables import plural

    of = "" if described.target is None else f" of {described.target!r}"
    width = plural(len(described.features), "feature")
    if described.columns is not None and len(described.columns) != len(described.features):
        width += f" of {plural(len(described.columns), 'column')}"
    what = "softmax regression" if described.activation is None else "network with a softmax output"
    screen.line(f"{file['path']}: {what}{of}", "bold")
    screen.line(f"{plural(len(described.names), 'class')} from {width}")
    if described.activation is not None:
        widths = ", ".join(f"{len(layer.intercept):,}" for layer in described.hidden) or "none"
        screen.line(f"Hidden layers: {widths} ({described.activation})")
    _show_classes(screen, described)
    _show_columns(screen, described)
    screen.heading("Certificate" if described.activation is None else "Fit")
    _pairs(screen, _certificate_rows(described.certificate))
    screen.line(meaning(described.certificate), "dim")
    screen.heading("Model")
    _pairs(screen, _model_rows(described))
    screen.heading("File")
    _pairs(screen, _file_rows(file))


def _show_classes(screen: Screen, described: Description) -> None:
    from softmax.persistence import printable

    screen.heading("Classes")
    shown = [printable(name) for name in described.names[:MOST_CLASSES]]
    if described.sizes is None:
        screen.line(", ".join(shown) + _rest(len(described.names), len(shown)))
        return
    total = sum(described.sizes)
    rows = [[name, f"{n:,}", f"{n / total:.1%}"] for name, n in zip(shown, described.sizes, strict=False)]
    screen.grid(["class", "rows", "share"], rows)
    if rest := _rest(len(described.names), len(shown)):
        screen.line(rest.strip(), "dim")


def _show_columns(screen: Screen, described: Description) -> None:
    from softmax.persistence import column_words, printable

    if described.columns is None:
        if described.named:
            shown = [printable(feature) for feature in described.features[:MOST_FEATURES]]
            screen.heading("Features")
            screen.line(", ".join(shown) + _rest(len(described.features), len(shown)))
        return
    screen.heading("Columns")
    shown_columns = described.columns[:MOST_COLUMNS]
    _pairs(screen, [(column.name, f"{column.kind}: {column_words(column)}") for column in shown_columns])
    if rest := _rest(len(described.columns), len(shown_columns)):
        screen.line(rest.strip(), "dim")


def _rest(total: int, shown: int) -> str:
    return f" … and {total - shown:,} more" if total > shown else ""


def _certificate_rows(known: dict[str, Any]) -> list[tuple[str, Any]]:
    from rich.text import Text

    from softmax.persistence import printable

    from ._screen import STATUS_STYLES

    status, objective, gap = known["status"], known["objective"], known["gap"]
    rows: list[tuple[str, Any]] = [
        ("status", Text(printable(status), style=STATUS_STYLES.get(status, "yellow"))),
        ("objective", f"{objective:.8g} nats"),
    ]
    if gap is not None:
        rows.append(("gap, at most", f"{gap:.1e} nats"))
    if objective and gap is not None:
        rows.append(("relative gap", f"{gap / objective:.1e}" + (f" (tol {known['tol']:g})" if known["tol"] else "")))
    if known["grad_norm"] is not None:
        rows.append(("gradient norm", f"{known['grad_norm']:.1e}"))
    if known["condition"] is not None:
        rows.append(("condition", f"about {known['condition']:.1e} (estimated)"))
    if known["penalty"] is not None and known["penalty"] == known["penalty"]:
        rows.append(("λ", f"{known['penalty']:.6g}"))
    if known["n_passes"] is None:
        return [*rows, ("epochs", str(known["n_iter"]))]
    return [*rows, ("iterations", str(known["n_iter"])), ("passes", f"{known['n_passes']:.4g}")]


def _model_rows(described: Description) -> list[tuple[str, Any]]:
    rows = [
        ("kind", described.kind),
        ("parameters", _parameters(described)),
        ("temperature", f"{described.temperature:.6g}{_calibration_words(described)}"),
    ]
    if described.missing is not None:
        rows.append(("missing values", described.missing))
    if described.record.get("data"):
        rows.append(("fitted on", str(described.record["data"])))
    return rows


def _calibration_words(described: Description) -> str:
    """What is known of the temperature."""
    found = described.calibration
    if not found:
        return " (not calibrated)" if described.temperature == 1.0 else ""
    before, after = found.get("log_loss_before"), found.get("log_loss_after")
    if not isinstance(before, float) or not isinstance(after, float):
        return " (calibrated)"
    return f" (calibrated: log-loss from {before:.4g} to {after:.4g} on rows held out)"


def _parameters(described: Description) -> str:
    """The parameters that are not at their default."""
    changed = []
    for name in described.changed:
        value = described.params[name]
        shape = getattr(value, "shape", ())
        shown = f"array of shape {shape}" if shape else repr(value)
        changed.append(f"{name}={shown if len(shown) <= 60 else shown[:59] + '…'}")
    return ", ".join(changed) or "all at their defaults"


def _file_rows(file: dict[str, Any]) -> list[tuple[str, Any]]:
    from ._export import size_words

    versions = ", ".join(f"{name} {version}" for name, version in sorted(file["versions"].items()))
    rows = [
        ("size", size_words(file["bytes"])),
        ("integrity", f"whole; sha256 {file['sha256'][:16]}…"),
        ("layout", f"version {file['layout']}"),
        ("written by", versions),
    ]
    return [*rows, ("written at", file["created"])] if file["created"] else rows


def _pairs(screen: Screen, rows: list[tuple[str, Any]]) -> None:
    """Print names and values side by side, wrapped where the console is narrow."""
    from rich.table import Table
    from rich.text import Text

    from softmax.persistence import printable

    grid = Table.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(overflow="fold", max_width=max(screen.console.width // 3, 10))
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(printable(name)), value if isinstance(value, Text) else Text(printable(str(value))))
    screen.console.print(grid)
