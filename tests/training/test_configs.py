"""Every shipped config instantiates, alone and under every overlay; nothing is trained."""

import os

import pytest
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from tgp_multimodal.models.diffusion_head import DiffusionHead
from tgp_multimodal.models.networks import DualEncoder, LanguageModel, Multimodal
from tgp_multimodal.models.text_transformer import TextTransformer
from tgp_multimodal.objectives.flow_matching import FlowMatching
from tgp_multimodal.objectives.picture_contrast import PictureContrast
from tgp_multimodal.objectives.together import Together
from tgp_multimodal.resources import shipped
from tgp_multimodal.training.run import RunCLI

os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # Lightning still asks the old way

OVERLAYS = ("text", "pictures", "crops", "gpu", "ddp", "fsdp")
ADAPTS = {  # overlays, too: behind a size or behind --init_from; and what they learn from
    "biomedical": {"text", "passages"},
    "code": {"text", "passages"},
    "search": {"text", "passages"},
    "chat": {"chat"},
}
APART = ("scenes", "contrastive")  # without text of their own: overlays of parts do not apply
NAMES = sorted(
    p.stem for p in shipped("configs").glob("*.yaml") if p.stem not in (*OVERLAYS, *ADAPTS)
)
CONFIGS = [name for name in NAMES if name not in APART]
STRATEGIES = {"ddp": DDPStrategy, "fsdp": ModelParallelStrategy}
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*litlogger.*")


@pytest.fixture
def build(monkeypatch, tmp_path):
    """Instantiates a run from shipped configs, on a CPU, with weights that take no memory."""
    monkeypatch.setattr("sys.argv", ["tgp fit"])
    for part in (TextTransformer, DiffusionHead):  # seconds for the large ones
        monkeypatch.setattr(part, "reset_parameters", lambda self: None)

    def built(*names):
        paths = [str(shipped("configs", f"{name}.yaml")) for name in names]
        configs = [word for path in paths for word in ("--config", path)]
        here = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
        here += ["--trainer.default_root_dir", str(tmp_path)]
        with torch.device("meta"):
            return RunCLI([*configs, *here], run=False)

    return built


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_instantiates_alone_and_under_each_overlay(name, overlay, build):
    alone = yaml.safe_load(shipped("configs", f"{name}.yaml").read_text("utf-8"))
    cli = build(name, overlay) if overlay else build(name)
    network = cli.model.network
    text = alone["model"]["network"]["init_args"]["text"]["init_args"]
    assert {key: getattr(network.text, key) for key in text} == text
    assert type(network) is (LanguageModel if overlay == "text" else Multimodal)
    wanted = {"text": {"text", "passages"}, "pictures": {"pictures", "captions"}}
    wanted["crops"] = wanted["pictures"]
    streams = wanted.get(overlay, wanted["text"] | wanted["pictures"])
    assert set(cli.model.objectives) == streams
    for stream in ("text", "passages", "pictures", "captions"):
        assert (getattr(cli.datamodule, stream) is not None) == (stream in streams)
    if overlay in ("pictures", "crops"):  # nothing is left of the streams that the size would draw
        assert cli.datamodule.pictures == {"longest": 64, "batch": 64}
        assert cli.model.weights == {"pictures": 1.0, "captions": 0.5}
    assert cli.trainer.max_steps == alone["trainer"]["max_steps"]
    assert isinstance(cli.trainer.strategy, STRATEGIES.get(overlay, SingleDeviceStrategy))
    assert cli.model.precision == ("bfloat16" if overlay in ("gpu", "ddp", "fsdp") else "auto")


def test_crops_and_drawing_learn_from_one_stream(build):
    pictures = build("nano", "crops").model.objectives["pictures"]
    assert isinstance(pictures, Together)
    kinds = {name: type(objective) for name, objective in pictures.objectives.items()}
    assert kinds == {"draw": FlowMatching, "crops": PictureContrast}


def test_overlays_add_up(build):
    cli = build("small", "text", "ddp")
    assert isinstance(cli.trainer.strategy, DDPStrategy)
    assert type(cli.model.network) is LanguageModel


@pytest.mark.parametrize("size", ["nano", "base"])
@pytest.mark.parametrize("overlay", ADAPTS)
def test_overlays_that_adapt_leave_text_alone_of_any_size(overlay, size, build):
    cli = build(size, overlay)
    assert type(cli.model.network) is LanguageModel
    assert set(cli.model.objectives) == ADAPTS[overlay]
    assert cli.model.every.keys() == cli.model.weights.keys() == ADAPTS[overlay]
    for stream in ("text", "passages", "pictures", "captions", "chat"):
        assert (getattr(cli.datamodule, stream) is not None) == (stream in ADAPTS[overlay])
    assert cli.datamodule.embedded == (overlay == "code")
    assert cli.model.every.get("passages") == {"chat": None, "search": 1}.get(overlay, 4)


@pytest.mark.parametrize("overlay", [None, "gpu", "ddp", "fsdp"])
def test_scenes_alone(overlay, build):
    cli = build("scenes", overlay) if overlay else build("scenes")
    assert type(cli.model.network) is Multimodal
    assert set(cli.model.objectives) == {"pictures", "captions"}
    assert cli.datamodule.text is None
    assert isinstance(cli.trainer.strategy, STRATEGIES.get(overlay, SingleDeviceStrategy))


@pytest.mark.parametrize("overlay", [None, "gpu", "ddp", "fsdp"])
def test_text_and_tower_alone(overlay, build):
    cli = build("contrastive", overlay) if overlay else build("contrastive")
    assert type(cli.model.network) is DualEncoder
    assert cli.model.network.tower.size == 32
    assert set(cli.model.objectives) == {"pictures"}
    assert cli.datamodule.text is None
    assert isinstance(cli.trainer.strategy, STRATEGIES.get(overlay, SingleDeviceStrategy))
