"""Which test images networks get wrong, from what they kept; and the sheet that shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.report.figures import contact_sheet
from tests.fabric import LABELS, edit_record, edit_rows, logits, make_store
from tests.inference.conftest import CLASSES
from wdiv.errors import BadData, BadInput, BadStore
from wdiv.inference.choice import choose
from wdiv.inference.mistakes import Mistake, mistakes, of_all_seeds, pixels_of
from wdiv.numerics.classification import PROBABILITIES
from wdiv.store import predictions
from wdiv.store.reader import Run
from wdiv.tuning.data.folder import decode


def test_of_each_image_how_many_seeds_got_it_wrong(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("fc",), (0, 1, 2), predicted=True)
    found = mistakes(of_all_seeds(store))
    given = [logits("fc", seed, 3)["test"] for seed in (0, 1, 2)]
    answers = np.stack([one.argmax(axis=1) for one in given])
    wrong = (answers != LABELS).sum(axis=0)
    assert {one.row: one.wrong for one in found.found} == {i: n for i, n in enumerate(wrong.tolist()) if n}
    assert found.networks == 3
    assert found.images == {"a": 4, "b": 3, "c": 2}
    for one in found.found:
        mine = answers[:, one.row]
        label = "abc".index(one.answer)
        assert (one.file, one.label) == (f"test/{one.row}.png", "abc"[LABELS[one.row]])
        assert label != LABELS[one.row]
        assert (mine == label).sum() == max((mine == k).sum() for k in range(3) if k != LABELS[one.row])
        p = [np.exp(PROBABILITIES["softmax"](one_.astype(float)))[one.row, label] for one_, a in
             zip(given, mine, strict=True) if a == label]  # fmt: skip
        assert one.probability == pytest.approx(np.mean(p))
    labels = [one.label for one in found.found]
    assert labels == sorted(labels)
    shown = found.shown(2)
    assert [one.wrong for one in shown] == sorted(wrong.tolist())[-2:]
    assert found.shown(100) == found.found
    counts = len(found.found), sum(one.wrong == 3 for one in found.found)
    told = "{} of 9 test images are answered wrongly by at least one of 3 networks, {} by all of them"
    assert found.in_words == told.format(*counts)


def test_an_image_is_judged_by_those_that_it_was_a_test_image_of(tmp_path: Path) -> None:
    """As the folds of a cross-validation are tested, each on images of its own."""
    store = make_store(tmp_path / "s", ("fc",), (0, 1), predicted=True)
    run = Run(next((store / "runs").glob("*s1")))
    kept = predictions.of_run(run)
    assert kept is not None
    names = tuple(f"more/{i}.png" for i in range(6)) + kept.images.names[6:]
    digest = predictions.write_images(store, names, kept.images.labels, kept.images.rows)
    edit_rows(run.path, lambda rows: rows[-1]["predictions"]["test"].update(images=digest))
    found = mistakes(of_all_seeds(store))
    assert sum(found.images.values()) == 15
    assert found.networks == 2
    for one in found.found:
        assert one.of == (2 if one.row >= 6 else 1)


def test_one_run_alone(used: Path) -> None:
    run = choose(used).first
    kept = predictions.of_run(run, 2)
    assert kept is not None
    found = mistakes(choose(f"{run.path}@2"))
    assert len(found.found) == (kept.logits.argmax(axis=1) != kept.images.labels).sum() > 0
    assert {(one.wrong, one.of) for one in found.found} == {(1, 1)}
    assert found.in_words == f"{len(found.found)} of 18 test images are answered wrongly"


def test_the_images_are_those_that_were_tested(used: Path, images: Path, tmp_path: Path) -> None:
    choice = choose(f"{choose(used).first.path}@1")
    found = mistakes(choice).found
    pixels = pixels_of(choice, found)
    for one, image in zip(found, pixels, strict=True):
        assert Path(one.file).parent.name == one.label
        np.testing.assert_array_equal(image, decode(images / one.file, 32))
    moved = Path(shutil.copytree(images, tmp_path / "three"))
    np.testing.assert_array_equal(pixels_of(choice, found, str(moved)), pixels)
    (moved / "dark" / "0.png").unlink()
    with pytest.raises(BadData, match="are not those that it was trained on"):
        pixels_of(choice, found, str(moved))


def test_where_nothing_is_kept_or_the_images_are_gone(store: Path, tmp_path: Path) -> None:
    with pytest.raises(BadStore, match="keeps no predictions of its test images after that epoch; 'wdiv evaluate'"):
        mistakes(choose(store))
    found = make_store(tmp_path / "s", ("fc",), (0,), predicted=True)
    choice = choose(found)
    with pytest.raises(BadData, match="does not say where its images are; give the folder where they are now with"):
        pixels_of(choice, mistakes(choice).found)


def test_runs_of_other_classes_are_not_averaged(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("fc",), (0, 1), predicted=True)
    edit_record(next((store / "runs").glob("*s1")), lambda record: record.update(class_names=["a", "b", "d"]))
    with pytest.raises(BadStore, match="its runs have not the same classes"):
        of_all_seeds(store)


def many(counts: dict[str, int]) -> list[Mistake]:
    return [
        Mistake(f"{label}/{'long name ' * (i % 3)}{i}.png", label, CLASSES[0], 0.9, 1 + i % 2, 2, i)
        for label, count in counts.items() for i in range(count)
    ]  # fmt: skip


def test_a_sheet_has_a_line_a_class_and_as_many_pages_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "ACROSS", 2)
    monkeypatch.setattr(contact_sheet, "DOWN", 2)
    found = many({"dark": 3, "$red$ 赤": 1})
    pixels = np.random.default_rng(0).integers(0, 256, (len(found), 3, 8, 8), np.uint8)
    files = contact_sheet.draw(found, pixels, tmp_path / "errors.png", "a title")
    assert [file.name for file in files] == ["errors.png", "errors-2.png"], "2 lines, and 1"
    tall, low = (height(file) for file in files)
    assert tall > 1.5 * low
    with pytest.raises(BadInput, match=r"must end in \.png"):
        contact_sheet.draw(found, pixels, tmp_path / "errors.txt")


def height(file: Path) -> int:
    with Image.open(file) as image:
        return image.size[1]
