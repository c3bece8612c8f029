"""What is code, formula, comment, HTML and text; and that no text takes more than linear time."""

from __future__ import annotations

import gc
import time

import pytest

from softmax.notes.reading import read_note, tokenize


def kinds(text):
    return [(segment.kind, text[segment.start : segment.end]) for segment in tokenize(text) if segment.kind != "prose"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a $x$ b", [("maths", "$x$")]),
        ("$x$ and $y_1$.", [("maths", "$x$"), ("maths", "$y_1$")]),
        ("costs $5 and $6 then $x$", [("maths", "$x$")]),
        ("$5", []),
        ("$5$6", []),  # a digit follows
        ("\\$x$ y$", []),
        ("\\\\$x$", [("maths", "$x$")]),
        ("$a\\$b$", [("maths", "$a\\$b$")]),
        ("$ x $", []),
        ("$x\ny$", [("maths", "$x\ny$")]),
        ("$x\n\ny$", []),
        ("- a$\n- $b", []),
        ("$$x$$", [("maths", "$$x$$")]),
        ("$$\nx\n\ny\n$$", [("maths", "$$\nx\n\ny\n$$")]),
        ("text $$x$$ text", [("maths", "$$x$$")]),
        ("text $$ text\n\ntext $$ text", []),
        ("so $$\nx\n$$", [("maths", "$$\nx\n$$")]),
        ("`$x$`", [("code", "`$x$`")]),
        ("``a ` $b$``", [("code", "``a ` $b$``")]),
        ("`a\n\nb` $x$", [("maths", "$x$")]),
        ("`a", []),
        ("```\n$x$\n```", [("code", "```\n$x$\n```")]),
        ("- ```py\n  $x$\n  ```\n$y$", [("code", "```py\n  $x$\n  ```"), ("maths", "$y$")]),
        ("> ```\n> $x$\n> ```", [("code", "```\n> $x$\n> ```")]),
        ("````\n```\n$x$\n````", [("code", "````\n```\n$x$\n````")]),
        ("~~~\n```\n~~~\n$x$", [("code", "~~~\n```\n~~~"), ("maths", "$x$")]),
        ("```a`b```", [("code", "```a`b```")]),
        ("<!-- $x$ -->", [("comment", "<!-- $x$ -->")]),
        ("a %%$x$%% b", [("comment", "%%$x$%%")]),
        ("50%% a\n\nb %%", []),
        ('<a href="$x$">$y$</a>', [("html", '<a href="$x$">'), ("maths", "$y$"), ("html", "</a>")]),
        ("<pre>$x$</pre>", [("html", "<pre>$x$</pre>")]),
        ("<https://a.b/$x$>", [("html", "<https://a.b/$x$>")]),
        ("a < b $x$ > c", [("maths", "$x$")]),
        ("echo `$HOME $PATH` and $x$", [("code", "`$HOME $PATH`"), ("maths", "$x$")]),
    ],
)
def test_segments(text, found):
    assert kinds(text) == found


def test_inner_and_display():
    text = "$$\nx\n$$ `c` $y$ ```\n"
    inner = [(text[slice(*segment.inner)], segment.display) for segment in tokenize(text) if segment.kind != "prose"]
    assert inner == [("\nx\n", True), ("c", False), ("y", False)]


HOSTILE = {
    **{
        name: name
        for name in ("$", "$$", "`", "<!--", "<!-- a", "%%", "\n%%a", '<a b="', "<a ", "<pre>", "\\", "\n", "[")
    },
    **{
        name: name
        for name in ("$a ", " $ x ", "a $$ b\n", "- a `b\n", "`a``b```c````d", "~~~~a\n````b\n", "```\n", "$5 ")
    },
    **{name: name for name in ("START\n", "END\n", "START\nBasic\n```\nEND\n", "STARTI ", "STARTI [", "TARGET DECK\n")},
    **{name: name for name in ("FROZEN - Basic:\n", "DELETE\n", "<!--ID: 5-->\n", "  START\nBasic\n", "a\r\n", "> - ")},
    **{
        name: name
        for name in (
            "START\nBasic\n$$\nEND\n",
            "{{c1::",
            "}}",
            "\\(",
            "\\begin{",
            "START\nBasic\n\\[a",
            "STARTI [Basic] q Back: a ENDI ",
            "<svg a>",
        )
    },
}
LENGTH = 320_000


def seconds(data):
    gc.disable()  # a collection goes through whatever other tests have left
    try:
        start = time.process_time()
        read_note("note.md", data)
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_repetitions_take_linear_time(piece):
    data = (piece * (LENGTH // len(piece))).encode()
    part = min(seconds(data[: LENGTH // 8]) for _ in range(2))
    assert seconds(data) < 24 * max(part, 0.05)  # linear time is 8 times that of an eighth, quadratic time 64 times


def test_runs_of_every_length_take_linear_time():
    data = "\n".join("`" * n + "a" for n in range(1, 900)).encode()
    assert seconds(data + b"\n" + b" ".join(b"`" * n for n in range(1, 900))) < 5


def test_one_card_with_many_lines_takes_linear_time():
    body = "Bakc: x\n" * 20_000 + "```\nBack: x\n```\n" * 10_000 + "<!--ID: 7-->\n" * 10_000
    start = time.process_time()
    note = read_note("note.md", f"START\nBasic\n{body}END\n".encode())
    assert len(note.entries) == 1 and time.process_time() - start < 15


def test_fifty_megabytes_with_images_take_seconds():
    image = "![](data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAABVYAAAMACAYAAADPPjzC" * 200_000 + ")\n"
    data = (image * 5 + "START\nBasic\nq $x$\nBack: a\nEND\n" + image).encode()
    assert len(data) > 50_000_000
    start = time.process_time()
    note = read_note("note.md", data)
    assert time.process_time() - start < 20
    assert [entry.fields["Front"] for entry in note.entries] == ["q $x$"]
