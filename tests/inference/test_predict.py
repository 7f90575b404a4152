"""The table of predictions: whole or not there, and as the network has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.inference.conftest import CLASSES, write_images
from wdiv.errors import BadData, BadInput
from wdiv.inference import predict as module
from wdiv.inference.choice import choose
from wdiv.inference.files import listed
from wdiv.inference.network import Network
from wdiv.inference.predict import Predictions, check_csv, predict
from wdiv.store import predictions


@pytest.fixture(scope="module")
def network(used: Path) -> Network:
    return Network(choose(used), "cpu")


def test_the_test_images_are_answered_as_the_store_kept_it(network: Network, images: Path, tmp_path: Path) -> None:
    kept = predictions.of_run(network.choice.first)
    assert kept is not None
    found = predict(network, listed([images]))
    table = pd.read_csv(found.write_csv(tmp_path / "p.csv")).set_index("file")
    assert list(table) == ["class", "probability", *CLASSES]
    mine = table.loc[[str(images / name) for name in kept.images.names]]
    wanted = network.probabilities_of(kept.logits)
    np.testing.assert_allclose(mine[list(CLASSES)].to_numpy(), wanted, atol=1e-5)
    assert mine["class"].tolist() == [CLASSES[label] for label in kept.logits.argmax(axis=1)]
    np.testing.assert_allclose(mine["probability"], wanted.max(axis=1), atol=1e-5)
    assert sum(found.counts.values()) == len(table) == 60


def test_the_watcher_sees_every_file(network: Network, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "new", 2)
    (folder / "dark" / "1.png").write_bytes(b"")
    seen: list[int] = []
    found = predict(network, listed([folder]), lambda block: seen.append(block.seen))
    assert seen[-1] == 6
    assert len(found.files) == 5
    assert found.bad == ((str(folder / "dark" / "1.png"), "empty file"),)


def test_none_that_can_be_read(network: Network, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"none of 2 images can be read: .*a.png: no such file; so are 1 more"):
        predict(network, [tmp_path / "a.png", tmp_path / "b.png"])


def some(classes: tuple[str, ...] = ("a", "b")) -> Predictions:
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    return Predictions(("x,1.png", "y\udcff.png"), classes, logits, np.array([[0.9, 0.1], [0.3, 0.7]]))


def test_names_from_outside_go_through(tmp_path: Path) -> None:
    content = some().write_csv(tmp_path / "p.csv").read_bytes()
    assert content == b'file,class,probability,a,b\n"x,1.png",a,0.9,0.9,0.1\ny\xff.png,b,0.7,0.3,0.7\n'


def test_a_class_that_is_called_as_a_column(tmp_path: Path) -> None:
    text = some(("class", "b")).write_csv(tmp_path / "p.csv").read_bytes().splitlines()[0]
    assert text == b"file,class,probability,class (class),b"


def test_half_a_file_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(value: object) -> object:
        raise KeyboardInterrupt

    (tmp_path / "p.csv").write_text("before")
    monkeypatch.setattr(module, "_plain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        some().write_csv(tmp_path / "p.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("p.csv", "before")]


def test_a_table_is_a_csv(tmp_path: Path) -> None:
    check_csv(tmp_path / "p.csv")
    check_csv(None)
    with pytest.raises(BadInput, match=r"p\.xlsx: the file's name must end in \.csv"):
        check_csv(tmp_path / "p.xlsx")
