"""How good a network is on images that are given: by class names, and honest about those that it has seen before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from studies.cli.answered import print_confusion
from tests.inference.conftest import CLASSES, write_images
from wdiv.errors import BadData, BadInput
from wdiv.inference.choice import choose
from wdiv.inference.evaluate import Evaluation, evaluate, labelled
from wdiv.inference.network import Network
from wdiv.numerics.proportion import wilson
from wdiv.store import predictions


@pytest.fixture(scope="module")
def network(used: Path) -> Network:
    return Network(choose(used), "cpu")


def ask(network: Network, data: Path | str, part: str | None = None) -> Evaluation:
    return evaluate(network, labelled(data, network.classes, network.inputs.size, part))


def test_new_images_are_scored_as_scikit_learn_does(network: Network, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "new", 9, first=50)
    shutil.rmtree(folder / "red one" / "x", ignore_errors=True)
    (folder / "dark" / "50.png").unlink()
    found = ask(network, folder)
    y, p = found.labels, found.predictions.probabilities
    answers = p.argmax(axis=1)
    assert found.notes == (), "none of them was seen in training"
    assert np.bincount(y).tolist() == [9, 8, 9]
    row = found.row()
    assert row["accuracy"] == pytest.approx(metrics.accuracy_score(y, answers))
    assert (row["low"], row["high"]) == pytest.approx([float(end) for end in wilson(row["accuracy"], 26)[1:]])
    assert row["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, answers))
    assert row["macro_f1"] == pytest.approx(metrics.f1_score(y, answers, average="macro"))
    assert row["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    assert row["confusion"] == metrics.confusion_matrix(y, answers).tolist()
    assert row["majority_share"] == pytest.approx(9 / 26)


def test_images_that_it_was_trained_on_are_counted(network: Network, images: Path) -> None:
    found = ask(network, images)
    record = network.choice.first.record
    (note,) = found.notes
    assert note.startswith(f"{record.n_train} of these 60 images are, pixel for pixel, among those that it was trained")


def test_its_test_images_alone_are_answered_as_the_store_says(network: Network, images: Path, tmp_path: Path) -> None:
    kept = predictions.of_run(network.choice.first)
    assert kept is not None
    for name in kept.images.names:
        (tmp_path / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / name, tmp_path / "test" / name)
    found = ask(network, tmp_path / "test")
    assert found.notes == ()
    assert found.scores.accuracy == network.choice.first.final_row["test_accuracy"]


def test_where_its_images_are_gone_their_names_tell(used: Path, images: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(used, tmp_path / "store"))
    moved = Path(shutil.copytree(images, tmp_path / "moved"))
    network = Network(choose(store), "cpu")
    run = network.choice.first
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("wdiv.tuning.training.own_images._study_of", lambda run: {"data": str(tmp_path / "gone")})
        (note,) = ask(network, moved).notes
    assert "whether it was trained on any of these images is not known" in note
    assert f"{run.record.n_test} of 60 are called as its test images are" in note


def test_classes_are_matched_by_name_and_others_are_named(network: Network, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "new", 4, first=70, classes=("dark", "green", "red one"))
    found = ask(network, folder)
    assert set(found.labels.tolist()) == {1, 2}, "indices of the network, not of the folder"
    assert found.notes == (
        "left out, as the network has no such class: 4 images of 'green'",
        "no images of 'bright': what is said of all classes is of the others",
    )
    assert np.isnan(found.scores.recall[0])
    print_confusion(found.row())
    with pytest.raises(BadData, match=re.escape("no images of the network's classes ('bright', 'dark', 'red one')")):
        labelled(write_images(tmp_path / "other", 1, classes=("Bright", "green", "blue")), CLASSES, 32)


def test_a_folder_with_a_split_of_its_own(network: Network, tmp_path: Path) -> None:
    for part, count in (("train", 3), ("Test", 2)):
        write_images(tmp_path / "new" / part, count, first=80)
    for part, count in ((None, 6), ("test", 6), ("train", 9), ("all", 15)):
        images = labelled(tmp_path / "new", CLASSES, 32, part)
        assert len(images.files) == len(images.labels) == count
    assert labelled(tmp_path / "new", CLASSES, 32).notes == (f"the images of Test of {tmp_path / 'new'}",)
    with pytest.raises(BadInput, match="has no train and test folders of its own"):
        labelled(tmp_path / "new" / "Test", CLASSES, 32, "test")
    with pytest.raises(BadInput, match="part: one of all, train, test, not 'val'"):
        labelled(tmp_path / "new", CLASSES, 32, "val")


def test_data_sets_by_name() -> None:
    images = labelled("digits-5-9", ("9", "5", "x"), 16)
    assert images.pixels is not None
    assert len(images.names) == len(images.labels) == len(images.pixels)
    assert set(images.labels.tolist()) == {0, 1}
    assert any("images of '6'" in note for note in images.notes)
    assert images.notes[-1].startswith("no images of 'x'")
    with pytest.raises(BadInput, match="digits-5-9: has no split of its own"):
        labelled("digits-5-9", ("5",), 16, "test")
    with pytest.raises(BadData, match="no data set and no folder 'digit'; did you mean"):
        labelled("digit", ("5",), 16)


def test_what_cannot_be_read_is_left_out(network: Network, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "new", 3, first=60)
    (folder / "dark" / "61.png").write_bytes(b"broken")
    found = ask(network, folder)
    assert np.bincount(found.labels).tolist() == [3, 2, 3]
    assert [file for file, _ in found.predictions.bad] == [str(folder / "dark" / "61.png")]
    assert list(found.predictions.columns) == ["label", "right"]
    rows = found.predictions.rows()
    assert all((row["class"] == row["label"]) == row["right"] for row in rows)
    assert all(Path(row["file"]).parent.name == row["label"] for row in rows)
