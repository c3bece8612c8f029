"""Fields as Anki takes them: formulas, links, media, clozes, code."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softmax.notes._render import media_name, render_fields, to_html
from softmax.notes._settings import Settings
from softmax.notes.reading import read_vault
from softmax.notes.reading._clozes import close_apart, number_clozes

PIECES = [
    *(
        "a",
        " ",
        "\n",
        "\n\n",
        "$x$",
        "$$y$$",
        "`c`",
        "```\n",
        "**",
        "*",
        "_",
        "[[n]]",
        "[[n|b]]",
        "![[n]]",
        "![[p.png|9]]",
    ),
    *(
        "| a | b |\n|---|---|\n",
        "- ",
        "> ",
        "# ",
        "{{c1::",
        "}}",
        "==",
        "<b>",
        "<!--",
        "-->",
        "%%",
        "\\",
        "#tag",
        "\ue000",
        "1",
    ),
]


@pytest.fixture
def shown(tmp_path):
    """Return a function that renders the second field of a card, or the first of another type."""
    (tmp_path / "p.png").write_bytes(b"image")
    (tmp_path / "Ton 1.mp3").write_bytes(b"sound")
    (tmp_path / "n.md").write_text("# N\nother\n")

    def shown(text, note_type="Basic", **options):
        label = "" if note_type == "Cloze" else "q\nBack: "
        (tmp_path / "a.md").write_bytes(f"START\n{note_type}\n{label}{text}\nEND\n".encode())
        vault = read_vault([tmp_path], settings=Settings(vault_name="My vault", **options))
        (entry,) = vault.notes["a.md"].entries
        fields, media = render_fields(entry, vault)
        shown.media = dict(media)
        return list(fields.values())[0 if note_type == "Cloze" else 1]

    return shown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** ~~d~~", "a <em>b</em> <strong>c</strong> <s>d</s>"),
        ("a\nb", "a<br />\nb"),
        ("a\n\nb", "<p>a</p>\n<p>b</p>"),
        ("$a_1*b*c_2$", r"\(a_1*b*c_2\)"),
        ("$a<b & c>d$", r"\(a&lt;b &amp; c&gt;d\)"),
        ("$f'(x)$", r"\(f'(x)\)"),
        ("so\n\n$$\na \\\\\n- b\n$$", "<p>so</p>\n<p>\\[\na \\\\\n- b\n\\]</p>"),
        ("costs $5 and $6 then $x$", r"costs $5 and $6 then \(x\)"),
        ("\\$5", "$5"),
        ("`$x$ $y$`", "<code>$x$ $y$</code>"),
        ("```\n$x$ <b>\n```", "<pre><code>$x$ &lt;b&gt;\n</code></pre>"),
        ("a\n\n    indented $x$ [[n]]", "<p>a</p>\n<pre><code>indented $x$ [[n]]\n</code></pre>"),
        ("- a $x$\n  $$y$$\n- b", "<ul>\n<li>a \\(x\\)<br />\n\\[y\\]</li>\n<li>b</li>\n</ul>"),
        ("==$x$ high==", r"<mark>\(x\) high</mark>"),
        ("a %%hidden%% b <!-- too --> c", "a  b  c"),
        ("text ^block-1", "text"),
        ("| a |\n|---|\n| $|x|$ |", None),
        ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>"),
        ("<b>raw</b> &lt;", "<b>raw</b> &lt;"),
        ("[[n]]", '<a href="obsidian://open?vault=My%20vault&amp;file=n">n</a>'),
        ("[[n#N|the *N*]]", '<a href="obsidian://open?vault=My%20vault&amp;file=n%23N">the *N*</a>'),
        ("[[#Top]]", '<a href="obsidian://open?vault=My%20vault&amp;file=a%23Top">Top</a>'),
        ("[[n#N]]", '<a href="obsidian://open?vault=My%20vault&amp;file=n%23N">n &gt; N</a>'),
        ("[x](n.md)", '<a href="obsidian://open?vault=My%20vault&amp;file=n.md">x</a>'),
        ("[x](https://a.b/c?d=1&e=2)", '<a href="https://a.b/c?d=1&amp;e=2">x</a>'),
        ("![[n]]", "<h1>N</h1>\n<p>other</p>"),
        ("![[none.png]]", "![[none.png]]"),
    ],
)
def test_markdown(shown, text, html):
    result = shown(text)
    if html is None:
        assert r"<td>\(|x|\)</td>" in result
    else:
        assert result == html


def test_images_and_sounds(shown, tmp_path):
    name = media_name(tmp_path / "p.png")
    assert name.startswith("p-") and name.endswith(".png")
    assert shown("![[p.png]]") == f'<img src="{name}">'
    assert shown.media == {name: tmp_path / "p.png"}
    assert shown("![[p.png|100]]") == f'<img src="{name}" width="100">'
    assert shown("![[p.png|a <b>|100x50]]") == f'<img src="{name}" alt="a &lt;b&gt;" width="100" height="50">'
    assert shown("![alt](p.png)") == f'<img src="{name}" alt="alt">'
    assert shown("![alt](https://a.b/p.png)") == '<img src="https://a.b/p.png" alt="alt" />'
    sound = media_name(tmp_path / "Ton 1.mp3")
    assert shown("![[Ton 1.mp3]]") == f"[sound:{sound}]" and " " not in sound
    assert shown("![](Ton%201.mp3)") == f"[sound:{sound}]"


def test_a_changed_image_has_another_name(tmp_path):
    (tmp_path / "p.png").write_bytes(b"one")
    first = media_name(tmp_path / "p.png")
    (tmp_path / "p.png").write_bytes(b"another")
    assert media_name(tmp_path / "p.png") != first


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (r"{{c1::$\frac{1}{\sqrt{2}}$}}", r"{{c1::\(\frac{1}{\sqrt{2} }\)}}"),
        (r"$\frac{{{c1::a}}}{b}$", r"\(\frac{{{c1::a}}}{b}\)"),
        (r"{{c1::$\{\frac{a}{b}\}$}}", r"{{c1::\(\{\frac{a}{b}\}\)}}"),
        (r"$x {{c1::\frac{a}{b}}}$", r"\(x {{c1::\frac{a}{b} }}\)"),
        ("{{c1::`a}}`}}", "{{c1::<code>a}<!-- -->}</code>}}"),
        ("{{c1::**x**::hint}}", "{{c1::<strong>x</strong>::hint}}"),
    ],
)
def test_clozes(shown, text, html):
    assert shown(text, "Cloze") == html


def test_curly_and_highlighted_clozes(shown):
    text = "{a} {b} {3:c} {c4|d} {{c5::e}} ==f=="
    assert shown(text, "Cloze", curly_cloze=True) == (
        "{{c1::a}} {{c2::b}} {{c3::c}} {{c4::d}} {{c5::e}} <mark>f</mark>"
    )
    assert shown("{a} ==f==", "Cloze", curly_cloze=True, highlights_to_clozes=True) == "{{c1::a}} {{c2::f}}"
    assert shown("{a}", curly_cloze=True) == "{a}"


@pytest.mark.parametrize("formula", [r"\frac{1}{\sqrt{2}}", r"a\}}b", "}}}}", "{{c1::a}}", r"{{c1::\frac{a}{b}}}", "x"])
def test_close_apart_changes_spaces_only(formula):
    apart = close_apart(formula)
    assert apart.replace(" ", "") == formula.replace(" ", "")
    if "{{c" not in formula:
        assert "}}" not in apart


def test_numbers_of_clozes():
    assert number_clozes("{a}{{b}}{c2:d}{\n\n}") == "{{c1::a}}{{b}}{{c2::d}}{\n\n}"


def test_frozen_text_link_and_context(tmp_path):
    text = "# H\n## I\nFROZEN - Basic:\nBack:  more\n\nSTART\nBasic\nq\nBack: a\nEND\n"
    (tmp_path / "a.md").write_text(text)
    options = {"add_file_link": True, "add_context": True, "context_fields": {"Basic": "Back"}}
    vault = read_vault([tmp_path], settings=Settings(vault_name="V", **options))
    fields = render_fields(vault.notes["a.md"].entries[0], vault).fields
    link = '<br><a href="obsidian://open?vault=V&amp;file=a.md" class="obsidian-link">Obsidian</a>'
    assert fields == {"Front": f"q{link}", "Back": "amorea.md &gt; H &gt; I"}


def test_tags_of_obsidian_leave_the_text(shown):
    assert shown("a #tag `#code` b", add_obsidian_tags=True) == "a  <code>#code</code> b"


def test_markdown_outside_of_a_vault():
    assert to_html("a *b*") == "a <em>b</em>"


@given(
    text=st.integers(0, 25).flatmap(lambda n: st.lists(st.sampled_from(PIECES), min_size=n, max_size=n)).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_any_text_is_rendered_with_every_formula_in_it(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("vault")
    (folder / "p.png").write_bytes(b"image")
    (folder / "n.md").write_text("other")
    for note_type in ("Basic", "Cloze"):
        (folder / "a.md").write_bytes(f"START\n{note_type}\nq\n{text}\nEND\n".encode())
        vault = read_vault([folder], settings=Settings(curly_cloze=True))
        for entry in vault.notes["a.md"].entries:
            fields, media = render_fields(entry, vault)
            for html in fields.values():
                assert html.count(r"\[") == html.count(r"\]")
                assert all(letter == "\ue000" for letter in html if "\ue000" <= letter <= "\uf8ff")
            assert all(path.exists() for _, path in media)
