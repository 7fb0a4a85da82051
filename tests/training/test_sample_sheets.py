"""What sample sheets show: given prompts, scenes where they are drawn, else held-out captions."""

from types import SimpleNamespace

import numpy as np
import pytest

from tgp_multimodal.data.prepared import write_pictures
from tgp_multimodal.data.records import Pair
from tgp_multimodal.objectives.flow_matching import FlowMatching
from tgp_multimodal.objectives.together import Together
from tgp_multimodal.training.callbacks import SHEET_PROMPTS, _drawing, _usual_prompts
from tgp_multimodal.training.datamodules import StreamData


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    pairs = [Pair(p, f"{'abb'[i % 3]} {i}", "abb"[i % 3], str(i)) for i, p in enumerate(pixels)]
    write_pictures(path / "pictures", {"train": pairs[:15], "validation": pairs[15:]}, [])
    return str(path)


def test_captions_of_held_out_pictures_of_each_stream_in_turn(folder):
    data = StreamData(folder, pictures={"longest": 8, "batch": 4})
    found = data.captions_to_draw(6)
    assert [caption[0] for caption in found] == list("ababab")
    assert len(set(found)) == 6
    assert all(int(caption.split()[1]) >= 15 for caption in found)
    assert data.captions_to_draw(6) == found
    assert len(data.captions_to_draw(100)) == 15
    one = StreamData(folder, pictures={"weights": {"b": 1.0}, "longest": 8, "batch": 4})
    assert {caption[0] for caption in one.captions_to_draw(4)} == {"b"}


def prompts(folder, **weights):
    settings = {"weights": weights} if weights else {}
    data = StreamData(folder, pictures={**settings, "longest": 8, "batch": 4})
    return _usual_prompts(SimpleNamespace(datamodule=data))


def test_scenes_and_digits_are_asked_for_where_they_are_learned(folder):
    assert prompts(folder, scenes=1.0) == list(SHEET_PROMPTS["scenes"])
    assert prompts(folder, scenes=0.9, digits=0.1) == [
        p for own in SHEET_PROMPTS.values() for p in own
    ]


def test_captions_are_asked_for_beside_scenes_and_alone(folder):
    found = prompts(folder, scenes=0.5, b=0.5)
    assert found[:7] == list(SHEET_PROMPTS["scenes"])
    assert len(found) == 16
    assert {caption[0] for caption in found[7:]} == {"b"}
    assert len(prompts(folder)) == 15
    assert {caption[0] for caption in prompts(folder, scenes=0.0, a=1.0, b=0.0)} == {"a"}
    none = StreamData(folder, pictures={"weights": None, "longest": 8, "batch": 4})
    assert len(_usual_prompts(SimpleNamespace(datamodule=none))) == 15


@pytest.mark.parametrize(("taught", "guidance"), [(1.0, 4.0), (3.0, 1.0)])
def test_sheets_are_not_guided_where_guidance_is_learned(taught, guidance):
    objective = FlowMatching(guidance=taught)
    for objectives in ({"pictures": objective}, {"pictures": Together({"draw": objective})}):
        assert _drawing(SimpleNamespace(objectives=objectives), 12).guidance == guidance
