"""``softmax notes format`` and ``dedupe`` as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mdit_py_plugins", reason="the extra notes is not installed")

UNTIDY = b"START \r\nBasic\r\nq\r\nBack: a\r\n<!--ID: 5-->\r\nTags: x\r\nEND"
SENTENCES = [f"Sentence {i} is long enough to be told apart from all the {i + 1} others.\n\n" for i in range(5)]
SECTION = f"## Rule\n{''.join(SENTENCES)}"


def test_format_shows_and_writes(softmax):
    Path("a.md").write_bytes(UNTIDY)
    done = softmax("notes", "format", "a.md")
    assert (
        done.code == 1
        and "-START \n+START\n" in done.out
        and "a.md:1:1" in done.err
        and "Nothing was written" in done.err
    )
    assert Path("a.md").read_bytes() == UNTIDY
    done = softmax("notes", "format", "a.md", "--write")
    assert done.code == 0 and "Wrote 1 file." in done.err
    assert Path("a.md").read_bytes() == b"START\r\nBasic\r\nq\r\nBack: a\r\nTags: x\r\n<!--ID: 5-->\r\nEND"
    assert softmax("notes", "format", ".").code == 0
    done = softmax("notes", "format", ".", "--newlines", "--write")
    assert done.code == 0 and "newlines or byte order mark only" in done.out
    assert b"\r" not in Path("a.md").read_bytes()


def test_dedupe_shows_and_writes(softmax):
    card = f"START\nBasic\nq\nBack:\n{SECTION}<!--ID: 5-->\nEND\n"
    Path("a.md").write_text(f"# Top\n{SECTION}# Cards\n{card}")
    before = Path("a.md").read_bytes()
    done = softmax("notes", "dedupe", ".")
    assert done.code == 1 and "a copy of a.md:2:1" in done.out and "It becomes ![[#Rule]]" in done.out
    assert Path("a.md").read_bytes() == before
    assert softmax("notes", "dedupe", ".", "--write").code == 0
    assert (
        Path("a.md").read_text()
        == f"# Top\n{SECTION}# Cards\nSTART\nBasic\nq\nBack:\n![[#Rule]]\n\n<!--ID: 5-->\nEND\n"
    )
    done = softmax("notes", "dedupe", ".")
    assert done.code == 0 and "nothing to change" in done.err


def test_dedupe_says_where_copies_drifted_apart(softmax):
    other = SECTION + "A last sentence, which is here as it was.\n"
    card = f"START\nBasic\nq\nBack:\n{other.replace('as it was', 'as it is')}<!--ID: 5-->\nEND\n"
    Path("a.md").write_text(f"# Top\n{other}# Cards\n{card}")
    done = softmax("notes", "dedupe", ".", "--write")
    assert done.code == 1 and "-A last sentence, which is here as it was." in done.out and "--drifted" in done.out
    assert "+A last sentence, which is here as it is." in done.out and "![[" not in Path("a.md").read_text()
    assert softmax("notes", "dedupe", ".", "--write", "--drifted").code == 0
    assert "![[#Rule]]" in Path("a.md").read_text()


@pytest.mark.parametrize("command", ["format", "dedupe"])
def test_failures_end_with_2(softmax, command):
    done = softmax("notes", command, "none.md")
    assert done.code == 2 and "there is no file or folder none.md" in done.err


def test_a_missing_extra_is_named(tmp_path):
    (tmp_path / "a.md").write_text("x")
    code = "import sys; sys.modules['markdown_it'] = None; from softmax.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "notes", "plan", str(tmp_path / "a.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "pip install 'softmax[notes]'" in done.stderr
