"""``softmax export``: a model for other programs (ONNX, JSON) and for people (a model card)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import onnx

FORMATS = {".onnx": "onnx", ".md": "md", ".json": "json"}


@click.command()
@click.argument("model")
@click.option("-o", "--output", metavar="FILE", help="Where to write.  [default: standard output; not for onnx]")
@click.option("--format", "form", type=click.Choice(list(FORMATS.values())), help="[default: the ending of FILE]")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="ONNX: of the numbers.  [default: float64]")
@click.option("--fast", is_flag=True, help="ONNX: compute in that dtype too, and not in float64.")
@click.option("--logits", is_flag=True, help="ONNX: give the logits as a third output.")
@click.option("--no-verify", is_flag=True, help="ONNX: do not compare the graph with the model in ONNX Runtime.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def export(
    model: str,
    output: str | None,
    form: str | None,
    dtype: str | None,
    fast: bool,
    logits: bool,
    no_verify: bool,
    quiet: bool,
) -> None:
    """Write MODEL for other programs, or a card about it.

    MODEL is a file that "softmax fit" or softmax.save wrote. The ending of FILE says what to write:

    \b
    .onnx  a graph for ONNX Runtime and its kin. Of a model of tables it takes
           the raw columns: numbers, and categories as text.
    .md    a model card in Markdown, with lines for its author to fill in.
    .json  labels, coefficients and the encoding of the columns, as plain JSON.

    \b
    Examples:
      softmax export digits.safetensors -o digits.onnx
      softmax export digits.safetensors -o README.md
      softmax export digits.safetensors --format json | jq .classes
    """  # noqa: D301 - click reads the \b
    from softmax.persistence import load, model_card, to_json, to_onnx

    from ._screen import Screen

    form = _format(output, form)
    _refuse_idle_options(form, {"--dtype": dtype, "--fast": fast, "--logits": logits, "--no-verify": no_verify})
    if output is not None:
        _check_output(output, model)
    loaded = load(model)
    screen = Screen(stderr=True)
    if form == "onnx":
        precision = "fast" if fast else "accurate"
        graph = to_onnx(
            loaded, output, dtype=dtype or "float64", precision=precision, logits=logits, verify=not no_verify
        )
        said = _graph_words(graph)
    else:
        text = model_card(loaded) if form == "md" else to_json(loaded)
        _write(text, output)
        open_lines = text.count("To be filled in by the author")
        said = [f"{open_lines} lines are left for you: search for “To be filled in”."] if form == "md" else []
    if output is not None and not quiet:
        screen.line(f"Wrote {output}: {size_words(Path(output).stat().st_size)}.")
        for line in said:
            screen.line(line)


def _format(output: str | None, form: str | None) -> str:
    """What to write, from the option or from the ending of the file."""
    if form is None and output is not None:
        form = FORMATS.get(Path(output).suffix.lower())
        if form is None:
            name = Path(output).name
            raise click.UsageError(
                f"{name} does not say what to write; end it in .onnx, .md or .json, or pass --format."
            )
    if form is None:
        raise click.UsageError("Say where to write with -o FILE, or what to print with --format md or json.")
    if form == "onnx" and output is None:
        raise click.UsageError("ONNX is no text for a terminal; say where to write it with -o FILE.")
    return form


def _refuse_idle_options(form: str, options: dict[str, Any]) -> None:
    idle = [name for name, value in options.items() if value]
    if idle and form != "onnx":
        raise click.UsageError(f"{idle[0]} is an option of ONNX, and {form} is to be written.")


def _check_output(output: str, model: str) -> None:
    from softmax import tables

    tables.check_writable(output)
    if Path(output).exists() and Path(model).exists() and Path(output).samefile(model):
        raise click.ClickException(f"{output} is the model itself; name another file with -o.")


def _write(text: str, output: str | None) -> None:
    from softmax.persistence import replace_file

    if output is None:
        click.echo(text, nl=False)
    else:
        replace_file(output, text.encode("utf-8", "replace"))


def _graph_words(graph: onnx.ModelProto) -> list[str]:
    """What goes into the graph, what comes out, and what is known of its correctness."""
    from softmax.tables import listing

    verified = next(prop.value for prop in graph.metadata_props if prop.key == "softmax.verified")
    return [
        f"In: {listing([value.name for value in graph.graph.input], 6)}",
        f"Out: {listing([value.name for value in graph.graph.output], 6)}",
        f"Verified: {verified}.",
    ]


def size_words(n: int) -> str:
    """A number of bytes, rounded."""
    if n < 1000:
        return f"{n} bytes"
    size, unit = next((n / 1000**i, unit) for i, unit in ((3, "GB"), (2, "MB"), (1, "kB")) if n >= 1000**i)
    return f"{size:.1f} {unit}"
