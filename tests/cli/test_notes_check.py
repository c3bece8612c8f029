"""``softmax notes check`` and ``fix``: exit codes, formats, and that fix changes nothing but the repairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")

CLEAN = "# a\n\n$$\n\\frac{d}{dx} x^3 = 3 x^2\n$$\n"
WRONG = "# a\n\nsee\n\n$$\n\\frac{d}{dx} x^3 = 2 x^2\n$$\n"
CARD = "\nSTART\nBasic\nthe cube\nBack:\n$$\n\\frac{d}{dx} x^3 = 2 x^2\n$$\nTags: a\n<!--ID: 1700000000001-->\nEND\n"


def write(name, text):
    Path(name).write_bytes(text.encode())
    return name


def test_a_clean_note_is_0_and_says_that_points_are_no_proof(softmax):
    done = softmax("notes", "check", write("n.md", CLEAN))
    assert done.code == 0, done
    assert "no findings in 1 note; 1 step: 1 consistent" in done.out and "no proof" in done.out


def test_a_wrong_note_is_1(softmax):
    done = softmax("notes", "check", write("n.md", WRONG))
    assert done.code == 1
    assert done.out.startswith("n.md:6:20: error: the two sides of = differ: ")
    assert "[maths/refuted]" in done.out and "2 becomes 3: 3 x^2" in done.out


@pytest.mark.parametrize("argument", ["missing.md", "table.csv"])
def test_what_cannot_be_checked_is_2(softmax, argument):
    write("table.csv", "a,b\n")
    done = softmax("notes", "check", argument)
    assert done.code == 2 and done.err.startswith("Error: ") and "Traceback" not in done.err
    assert softmax("notes", "fix", argument).code == 2


def test_remarks_count_only_when_strict(softmax):
    write("n.md", "$$\na^2 + b^2 = c^2\n$$\n")
    assert softmax("notes", "check", "n.md").code == 0
    assert softmax("notes", "check", "n.md", "--strict").code == 1


def test_json_holds_findings_with_their_places(softmax):
    done = softmax("notes", "check", write("n.md", WRONG + CARD), "--format", "json")
    content = json.loads(done.out)
    assert done.code == 1 and done.err == ""
    (finding,) = [finding for finding in content["findings"] if finding["rule"] == "maths/refuted"]
    assert finding["file"] == "n.md" and (finding["line"], finding["column"]) == (6, 20)
    assert finding["verdict"] == "refuted" and finding["places"][1] == {"file": "n.md", "line": 14, "column": 20}
    assert abs(finding["left"] - finding["right"]) > 1e-3 and "x" in finding["point"]
    assert finding["repaired"] == "3 x^2" and finding["message"]
    assert {step["verdict"] for step in content["steps"]} == {"refuted"}


def test_sarif_is_what_code_scanning_reads(softmax):
    done = softmax("notes", "check", write("a note.md", WRONG + CARD), "--format", "sarif")
    log = json.loads(done.out)
    run = log["runs"][0]
    assert log["version"] == "2.1.0" and run["tool"]["driver"]["rules"][0]["id"] == "maths/refuted"
    result = run["results"][0]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a%20note.md" and place["region"]["startLine"] == 6
    assert result["level"] == "error" and len(result["relatedLocations"]) == 1


def test_github_annotates_lines(softmax):
    done = softmax("notes", "check", write("a,b.md", WRONG), "--format", "github")
    assert done.out.startswith("::error file=a%2Cb.md,line=6,col=20,title=maths/refuted::")
    assert len(done.out.splitlines()) == 1


def test_fix_shows_a_diff_of_the_note_and_the_card_and_writes_nothing(softmax):
    before = Path(write("n.md", WRONG + CARD)).read_bytes()
    done = softmax("notes", "fix", "n.md")
    assert done.code == 1 and Path("n.md").read_bytes() == before
    assert done.out.count("-\\frac{d}{dx} x^3 = 2 x^2") == done.out.count("+\\frac{d}{dx} x^3 = 3 x^2") == 2
    assert "Nothing was written" in done.err and "2 becomes 3" in done.err
    assert softmax("notes", "fix", "n.md", "--diff").out == done.out


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "no newline"])
def test_write_changes_the_formulas_and_not_a_byte_more(softmax, newline, end):
    data = ("\ufeff" + WRONG + CARD + end).replace("\n", newline).encode()
    Path("n.md").write_bytes(data)
    done = softmax("notes", "fix", "n.md", "--write")
    assert done.code == 0, done
    assert Path("n.md").read_bytes() == data.replace(b"= 2 x^2", b"= 3 x^2")
    assert softmax("notes", "fix", "n.md", "--write").code == 0
    assert "2 edits written" in done.err


def test_what_has_no_repair_is_told(softmax):
    write("n.md", "$$\n\\sin^2 x = \\sum_{k=1}^7 \\frac{k}{x}\n$$\n")
    done = softmax("notes", "fix", "n.md", "--write")
    assert done.code == 1 and "no repair is known: n.md:2:" in done.err


def test_a_folder_is_checked_with_all_its_notes(softmax):
    Path("sub").mkdir()
    write("sub/a.md", CLEAN)
    write("b.md", WRONG)
    done = softmax("notes", "check", ".")
    assert done.code == 1 and "in 2 notes" in done.out
