import os

import numpy as np
import pytest
from random_networks import language_model

from tgp_multimodal import export
from tgp_multimodal.data import tokenizer as tokenizers
from tgp_multimodal.data.prepared import write_pictures, write_text
from tgp_multimodal.data.records import Document, Pair

os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # Lightning still asks the old way


@pytest.fixture(scope="session")
def data_folder(corpus, tmp_path_factory):
    """A prepared folder with a few documents and pictures, as `tgp prepare` would write it."""
    folder = tmp_path_factory.mktemp("data")
    tokenizer = tokenizers.train(corpus, vocabulary=320)
    tokenizer.save(folder / "tokenizer")
    documents = [Document(t, ("prose", "code")[i % 2], f"d{i}") for i, t in enumerate(corpus * 4)]
    write_text(folder / "text", {"train": documents, "validation": documents[:20]}, tokenizer, [])
    rng = np.random.default_rng(0)
    pairs = [
        Pair(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), f"picture {i}", "scenes", f"p{i}")
        for i in range(24)
    ]
    write_pictures(folder / "pictures", {"train": pairs, "validation": pairs[:6]}, [])
    return folder


@pytest.fixture(scope="module")
def base(tokenizer, tmp_path_factory):
    """The export of a small language model."""
    folder = tmp_path_factory.mktemp("base") / "export"
    export.save(folder, language_model(tokenizer.vocabulary), tokenizer, {"run": "base"}, "card")
    return folder


@pytest.fixture(scope="module")
def loaded(base):
    """What is in `base`."""
    return export.load(base)


@pytest.fixture
def arguments(data_folder, tmp_path):
    """Arguments of a run that takes a second, in `tmp_path / "run"`."""
    network = {
        "text": {
            "class_path": "TextTransformer",
            "init_args": {
                "vocabulary": 320, "width": 32, "depth": 2, "feed_forward": 48,
                "heads": 2, "key_value_heads": 1,
            },
        },
        "head": {
            "class_path": "DiffusionHead",
            "init_args": {
                "text_width": 32, "width": 16, "depth": 2, "heads": 2, "patch": 4, "size": 8,
            },
        },
    }  # fmt: skip
    config = {
        "model": {
            "network": {"class_path": "Multimodal", "init_args": network},
            "objectives": {
                "text": {"class_path": "HybridLanguage"},
                "pictures": {"class_path": "FlowMatching"},
                "passages": {"class_path": "PassageContrast"},
                "captions": {
                    "class_path": "PassageContrast",
                    "init_args": {"is_causal": True, "temperature": 0.5},
                },
            },
            "every": {"passages": 3, "captions": 2},
            "precision": "float32",
        },
        "data": {
            "folder": str(data_folder),
            "text": {
                "weights": {"prose": 1.0, "code": 1.0}, "infill": {"code": 0.5},
                "length": 24, "batch": 4,
            },
            "pictures": {"weights": {"scenes": 1.0}, "longest": 16, "batch": 3},
            "passages": {"weights": {"prose": 1.0, "code": 1.0}, "length": 12, "batch": 3},
            "captions": {"batch": 3},
            "validation_batches": 1,
        },
        "trainer": {
            "accelerator": "cpu",
            "default_root_dir": str(tmp_path / "run"),
            "max_steps": 8,
            "log_every_n_steps": 2,
            "val_check_interval": 4,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "gradient_clip_val": 1.0,
        },
        "sample_every": 1000,
        "save_every": 1000,
    }  # fmt: skip
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path)]


@pytest.fixture
def with_tower(arguments, tmp_path):
    """The same run with an image tower that learns from the pictures as the head does."""
    import yaml

    config = yaml.safe_load((path := tmp_path / "config.yaml").read_text())
    config["model"]["network"]["init_args"]["tower"] = {
        "class_path": "ImageTower",
        "init_args": {
            "text_width": 32, "width": 16, "depth": 2, "heads": 2, "patch": 4, "size": 8,
        },
    }  # fmt: skip
    objectives = {
        "draw": config["model"]["objectives"]["pictures"],
        "match": {"class_path": "ImageTextContrast"},
    }
    config["model"]["objectives"]["pictures"] = {
        "class_path": "Together",
        "init_args": {"objectives": objectives, "weights": {"match": 0.5}},
    }
    path.write_text(yaml.safe_dump(config))
    return arguments
