"""The embedded corpus becomes one set with its fixed splits; documents are read once."""

import numpy as np
import pytest

from tgp_multimodal.data import embedded, prepared, scenes
from tgp_multimodal.data.prepare_embedded import picture_sources, prepare_embedded, text_sources
from tgp_multimodal.data.records import Document


@pytest.fixture
def reads(monkeypatch):
    """Stands for the installation, which takes seconds to read."""
    counted = []

    def documents(split):
        counted.append(split)
        for i in range(6):
            yield Document(f"{split} {i} says something", ("prose", "code")[i % 2], "")

    monkeypatch.setattr(embedded, "documents", documents)
    return counted


def test_the_set_has_all_streams_and_the_fixed_splits(tmp_path, reads):
    found = prepare_embedded(tmp_path, vocabulary=300, size=16, scenes=40, seed=5)
    assert sorted(reads) == ["test", "train", "validation"]  # once, though two passes need it
    splits = {name: sizes["documents"] for name, sizes in found.text["splits"].items()}
    assert splits == {"train": 6, "validation": 6, "test": 6}
    assert found.text["streams"] == ["prose", "code"]
    assert found.pictures["streams"] == ["digits", "scenes"]
    for number, split in enumerate(("train", "validation", "test")):
        seen = prepared.open_pictures(tmp_path / "pictures", split)
        assert seen.pixels.shape[1:] == (16, 16, 3)
        assert np.bincount(seen.stream)[0] == sum(1 for _ in embedded.digits(split))
        drawn = next(scenes.pairs(1, 5 + number, 16))
        first = np.flatnonzero(seen.stream == 1)[0]
        assert (seen.pixels[first] == drawn.pixels_YXC).all()
        assert seen.captions[first] == (drawn.caption,)
    assert np.bincount(prepared.open_pictures(tmp_path / "pictures", "train").stream)[1] == 40


def test_licenses_stand_in_the_manifest(tmp_path, reads):
    found = prepare_embedded(tmp_path, vocabulary=300, size=16, scenes=0)
    assert found.text["sources"][0]["license"]["stdlib"] == "PSF-2.0"
    assert [s["license"] is None for s in found.pictures["sources"]] == [False] * 3
    assert found.pictures["streams"] == ["digits"]


def test_sources_say_how_many_scenes_there_will_be():
    assert [s.rows for s in picture_sources(16, 100, 0)] == [None, 100, None, 5, None, 5]
    assert [s.split for s in text_sources()] == ["train", "validation", "test"]
