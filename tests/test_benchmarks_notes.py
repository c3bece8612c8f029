"""The benchmark of notes: its vault is what it says, and its page comes from the result file alone."""

from __future__ import annotations

import random
import re

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of an installed package: run from the checkout")

from benchmarks.notes import formulas, page, process
from benchmarks.notes.vault import png, write_vault


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, write_vault(folder, 60, images=5, seed=1)


def test_the_vault_holds_what_it_says(vault):
    folder, contents = vault
    notes = list(folder.rglob("*.md"))
    text = "\n".join(path.read_bytes().decode().replace("\r\n", "\n") for path in notes)
    assert len(notes) == contents.notes == 60
    assert contents.cards == 120
    assert len(re.findall(r"^START$", text, re.M)) + len(re.findall("^STARTI", text, re.M)) == contents.cards
    assert len(re.findall(r"^END$", text, re.M)) + len(re.findall("ENDI$", text, re.M)) == contents.cards
    assert sum(path.stat().st_size for path in notes) == contents.bytes
    assert len(re.findall(r"^\$\$\n", text + "\n", re.M)) == 2 * contents.displays
    assert len(list((folder / "media").iterdir())) == contents.images == 5


def test_the_same_seed_gives_the_same_bytes(vault, tmp_path):
    folder, _ = vault
    write_vault(tmp_path, 60, images=5, seed=1)
    paths = [path.relative_to(folder) for path in folder.rglob("*.*")]
    assert all((tmp_path / path).read_bytes() == (folder / path).read_bytes() for path in paths)


def test_every_link_and_embed_leads_somewhere(vault):
    folder, _ = vault
    names = {path.stem for path in folder.rglob("*.md")}
    pictures = {path.name for path in folder.rglob("*.png")}
    for path in folder.rglob("*.md"):
        text = path.read_bytes().decode()
        for target, heading in re.findall(r"\[\[([^\]|#]*)#?([^\]|]*)", text):
            assert f"# {heading}" in text if heading else target in names | pictures


def test_hardly_two_formulas_are_the_same():
    rng = random.Random(0)
    drawn = [formulas.display(rng) for _ in range(1000)]
    assert len(set(drawn)) > 800


def test_images_are_images():
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    import io

    with image.open(io.BytesIO(png(random.Random(0), 20))) as opened:
        assert opened.size == (20, 20)
        opened.load()


def test_a_process_is_measured():
    measured = process.measure(["--version"])
    assert measured.exit_code == 0
    assert measured.output.startswith("softmax ")
    assert 0 < measured.seconds < 60
    assert measured.processor_seconds > 0


def results(seconds: float, peak: float) -> dict:
    names = ("check", "plan", "first sync", "check again", "plan again", "sync again")
    record = {"seconds": seconds, "processor_seconds": seconds, "peak_bytes": peak}
    machine = dict.fromkeys(("cpu", "cpu_family", "cpu_model", "cores", "instruction_set", "system", "python"), "x")
    counts = ("notes", "cards", "displays", "inline_formulas", "wrong_formulas", "links", "embeds", "images")
    return {
        "date": "2026-01-01",
        "machine": machine | {"load_average": 0.0},
        "versions": {},
        "contents": dict.fromkeys((*counts, "bytes", "image_bytes"), 1000),
        "steps": [{"step": name} | record for name in names],
    }


def test_the_page_says_which_goals_were_met():
    assert [met for *_, met in page.goals(results(1.0, 1e8))] == [True, True, True]
    assert [met for *_, met in page.goals(results(30.0, 6e8))] == [False, False, False]
    assert page.page(results(1.0, 1e8)).count("| met |") == 3
    assert page.page(results(30.0, 6e8)).count("**MISSED**") == 3
