"""What adapters of foreign models share, and those of sentence-transformers, open_clip and timm."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import stock_models
import torch
from PIL import Image
from random_networks import language_model, multimodal
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from torch import nn
from transformers.utils import logging as transformers_logging

from tgp_multimodal import export
from tgp_multimodal.adapters import foreign, make
from tgp_multimodal.evaluation import cards
from tgp_multimodal.evaluation.requests import Embed, JointEmbed

PICTURES = [np.random.default_rng(i).integers(0, 256, (40, 30, 3), np.uint8) for i in range(3)]


def test_weights_stand_behind_the_last_at(tmp_path):
    assert foreign.split_variant("ViT-B-32@random") == ("ViT-B-32", "random")
    assert foreign.split_variant("org/model") == ("org/model", "")
    assert foreign.split_variant("org/m@main", ["random"]) == ("org/m@main", "")
    assert foreign.split_variant("a@b@random", ["random"]) == ("a@b", "random")
    (tmp_path / "a@random").mkdir()
    assert foreign.split_variant(f"{tmp_path}/a@random") == (f"{tmp_path}/a@random", "")


def test_names_are_short_and_of_one_folder(tmp_path):
    (tmp_path / "nano" / "export").mkdir(parents=True)
    assert foreign.display_name("hf", str(tmp_path / "nano/export")) == "hf-nano"
    (tmp_path / "mails" / "model").mkdir(parents=True)  # as `tgp adapt` calls it
    assert foreign.display_name("hf", str(tmp_path / "mails/model")) == "hf-mails"
    assert foreign.display_name("hf", "org/model") == "hf-model"
    assert foreign.display_name("openclip", "ViT-B-32", "/x/best.pt") == "openclip-ViT-B-32-best"


def test_a_missing_library_is_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match=r"no-such must be installed .* pip install no-such"):
        foreign.import_library("no_such_library", "no-such")
    broken = ModuleNotFoundError("No module named 'inner'", name="inner")

    def fail(_):
        raise broken

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="inner"):  # a broken one is not a missing one
        foreign.import_library("timm", "timm")


def test_the_digest_follows_weights_types_and_settings():
    network = nn.Linear(3, 2)
    digests = {foreign.model_digest(network), foreign.model_digest(network, 1)}
    with torch.no_grad():
        network.weight[0, 0] += 1
    digests |= {foreign.model_digest(network), foreign.model_digest(network.bfloat16())}
    assert len({whole for whole, _ in digests}) == 4
    assert len({weights for _, weights in digests}) == 3
    assert foreign.model_digest(network) == foreign.model_digest(network)


def test_fresh_weights_are_the_same_and_leave_no_trace():
    before = torch.random.get_rng_state()
    drawn = []
    for _ in range(2):
        with foreign.same_randomness():
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_open_clip_vectors_are_the_librarys(tmp_path):
    import open_clip

    folder = stock_models.open_clip_model(tmp_path / "clip")
    model = make(f"openclip:{folder}")
    source = f"local-dir:{folder}"
    stock, _, transform = open_clip.create_model_and_transforms(source)
    stock.eval()
    pixels = torch.stack([transform(Image.fromarray(p)) for p in PICTURES])
    texts = ["a dog", "two dogs", ""]
    with torch.no_grad():
        image, text = stock.encode_image(pixels), stock.encode_text(
            open_clip.get_tokenizer(source)(texts)
        )  # fmt: skip
        unit = [v / v.norm(dim=1, keepdim=True) for v in (image, text)]
    seen = model.answer([Embed(p) for p in PICTURES])
    np.testing.assert_allclose(seen, image, atol=1e-6)
    joint = model.answer([JointEmbed(i) for i in (texts[0], *PICTURES, *texts[1:])])
    np.testing.assert_allclose(joint[1:4], unit[0], atol=1e-6)
    np.testing.assert_allclose([joint[0], *joint[4:]], unit[1], atol=1e-6)
    assert model.can(cards.find("image/scene_zero_shot")) is None
    fresh = make(f"openclip:{folder}@random").answer([Embed(PICTURES[0])])[0]
    assert np.abs(fresh - seen[0]).max() > 0.01


def test_weights_trained_with_quick_gelu_run_with_it(monkeypatch):
    """The library itself would only warn, and compute with GELU."""
    import open_clip

    told = {"quick_gelu": True}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, weights: told)
    assert "QuickGELU" in repr(make("openclip:ViT-S-32-alt@random").network)
    told.clear()
    assert "QuickGELU" not in repr(make("openclip:ViT-S-32-alt@random").network)


def test_the_digest_of_open_clip_follows_its_settings(tmp_path):
    folder = stock_models.open_clip_model(tmp_path / "clip")
    path = folder / "open_clip_config.json"
    settings = json.loads(path.read_text())["model_cfg"]
    cleaned = {**settings["text_cfg"], "tokenizer_kwargs": {"clean": "canonicalize"}}
    vectors, digests = [], []
    for changed in ({}, {"quick_gelu": True}, {"text_cfg": cleaned}):
        path.write_text(json.dumps({"model_cfg": settings | changed}))
        model = make(f"openclip:{folder}")
        vectors.append(model.answer([Embed("A dog!")])[0])
        digests.append(model.facts()["digest"])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(vectors[i] - vectors[j]).max() > 0
        assert digests[i] != digests[j]


def test_the_digest_of_open_clip_follows_a_tokenizer_of_transformers(corpus, tmp_path):
    folder = stock_models.open_clip_model(tmp_path / "clip")
    stock_models.masked(tmp_path / "words", corpus)
    for path in (tmp_path / "words").glob("*token*"):
        path.rename(folder / path.name)
    path = folder / "open_clip_config.json"
    settings = json.loads(path.read_text())
    settings["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = str(folder)
    path.write_text(json.dumps(settings))
    follows_the_tokenizer(make(f"openclip:{folder}"), lambda m: m.tokenizer.tokenizer)


def follows_the_tokenizer(model, tokenizer_of) -> None:
    """Changes the case that a tokenizer sees: the digest follows that, and no asking."""
    fresh = model.facts()["digest"]
    lower = model.answer([Embed("THE river"), Embed("THE dog " * 30)])[0]
    assert model.facts()["digest"] == fresh
    backend = tokenizer_of(model).backend_tokenizer
    other = not backend.normalizer.lowercase  # which it is at first, depends on the version
    backend.normalizer = normalizers.BertNormalizer(lowercase=other)
    assert np.abs(model.answer([Embed("THE river")])[0] - lower).max() > 0
    assert model.facts()["digest"] != fresh


def test_timm_features_are_the_librarys(tmp_path):
    import timm

    stock = timm.create_model("test_vit", pretrained=False)  # with a classifier
    torch.save(stock.state_dict(), tmp_path / "best.pth")
    model = make(f"timm:test_vit@{tmp_path}/best.pth")
    assert model.name == "timm-test_vit-best"
    stock.eval()
    settings = timm.data.resolve_model_data_config(stock)
    transform = timm.data.create_transform(**settings, is_training=False)
    pixels = torch.stack([transform(Image.fromarray(p)) for p in PICTURES])
    with torch.no_grad():
        expected = stock.forward_head(stock.forward_features(pixels), pre_logits=True)
    np.testing.assert_allclose(model.answer([Embed(p) for p in PICTURES]), expected, atol=1e-5)
    assert "cannot embed text" in str(model.can(cards.find("text/pydoc_package")))


def test_a_file_of_timm_may_have_any_classifier_and_must_have_all_else(tmp_path):
    import timm

    file = tmp_path / "best.pth"
    stock = timm.create_model("test_vit", pretrained=False, num_classes=7)
    torch.save(stock.state_dict(), file)
    seen = make(f"timm:test_vit@{file}").answer([Embed(PICTURES[0])])
    stock.reset_classifier(0)
    weights = stock.state_dict()
    torch.save(weights, file)
    np.testing.assert_array_equal(make(f"timm:test_vit@{file}").answer([Embed(PICTURES[0])]), seen)
    # The library itself has weights without a classifier for this one, and is strict then.
    stock = timm.create_model("eva02_tiny_patch14_224", pretrained=False, num_classes=7)
    torch.save(stock.state_dict(), file)
    assert make(f"timm:eva02_tiny_patch14_224@{file}").network.num_classes == 0
    count = len(weights)
    part = {k: v for k, v in weights.items() if k != "blocks.0.attn.proj.bias"}
    other = {f"encoder.{k}": v for k, v in weights.items()}
    whole = "weights of test_vit must be whole. Got .*best.pth without"
    for damaged, missing in ((part, 1), (other, count), ({}, count)):
        torch.save(damaged, file)
        with pytest.raises(
            ValueError, match=rf"{whole} {missing} of {count} \(.* is one\) instead"
        ):
            make(f"timm:test_vit@{file}")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("openclip:ViT-B-33@random", "Did you mean ViT-B-32"),
        ("openclip:ViT-B-32", "must say its weights: ViT-B-32@WEIGHTS, a file, random, or one of"),
        ("openclip:ViT-B-32@laion2b_s34b_b79", "Did you mean laion2b_s34b_b79k"),
        ("openclip:{tmp}", "architecture with weights of its own"),
        ("timm:test_vitt", "Did you mean test_vit"),
        ("timm:test_vit@nowhere.pth", "must be a file or random. Got nowhere.pth"),
        ("st:{tmp}/nothing", "folder or hub name that sentence-transformers opens"),
        ("hf:{tmp}", "folder or hub name that transformers opens"),
        ("hf:no/such-model", "folder or hub name that transformers opens. Got no/such-model"),
    ],
)
def test_a_wrong_model_is_one_sentence(model, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as caught:
        make(model.format(tmp=tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["hf", "st"])
def test_a_pooler_without_weights_is_the_same_each_time(kind, corpus, tmp_path):
    folder = stock_models.masked(tmp_path / "bert", corpus, "bert tagger")
    one, two = (make(f"{kind}:{folder}").facts() for _ in range(2))
    assert one["digest"] == two["digest"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-99])


def change(folder: Path, **settings: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("kind", ["hf", "st"])
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda f: cut(f / "model.safetensors"), "incomplete metadata"),
        (lambda f: change(f, hidden_size=16), "ignore_mismatched_sizes"),
        (lambda f: change(f, quantization_config={"quant_method": "aqlm"}), "aqlm"),
    ],
)
def test_weights_that_cannot_be_read_are_one_sentence(kind, damage, word, corpus, tmp_path):
    damage(stock_models.masked(tmp_path / "bert", corpus))
    with pytest.raises(ValueError, match=f"{kind} model must be a folder .* Got .*{word}") as found:
        make(f"{kind}:{tmp_path}/bert")
    assert "\n" not in str(found.value)


def test_files_that_were_cut_are_one_sentence(tokenizer, tmp_path):
    cut(stock_models.open_clip_model(tmp_path / "clip") / "open_clip_model.safetensors")
    (tmp_path / "page.pth").write_bytes(b"hello")
    (tmp_path / "empty.pth").touch()
    export.save(tmp_path / "ours", multimodal(tokenizer.vocabulary), tokenizer, {}, "")
    cut(next((tmp_path / "ours" / "transformer").glob("*.safetensors")))
    for model in (
        f"openclip:{tmp_path}/clip",
        f"openclip:ViT-B-32@{tmp_path}/page.pth",
        f"timm:test_vit@{tmp_path}/page.pth",
        f"timm:test_vit@{tmp_path}/empty.pth",
        f"diffusers:{tmp_path}/ours",
    ):
        with pytest.raises(ValueError, match=r"model must .* Got .* instead \("):
            make(model)


@pytest.mark.parametrize("kind", ["hf", "st", "diffusers"])
def test_code_that_came_along_is_not_run_even_if_somebody_would_allow_it(
    kind, tmp_path, monkeypatch
):
    own = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", None]}
    settings = {"model_type": "own", "auto_map": own, "architectures": ["OwnForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": own}))
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": ["own", "Own"]}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w').close()")
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(ValueError, match=f"{kind} model must be .* custom code"):
        make(f"{kind}:{tmp_path}")
    assert not (tmp_path / "was_run").exists()


def test_texts_of_a_search_get_the_prompts_of_sentence_encoders(tokenizer, tmp_path):
    stock = pytest.importorskip("sentence_transformers").SentenceTransformer
    export.save(tmp_path / "words", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    settings = {
        "prompts": {"query": "search: ", "document": "text: ", "all": "a "},
        "default_prompt_name": "all",
    }
    bare = stock(str(tmp_path / "words"), device="cpu")
    (tmp_path / "words/config_sentence_transformers.json").write_text(json.dumps(settings))
    model = make(f"st:{tmp_path}/words")
    asked = [
        Embed("apple", role="document"),
        Embed("apple", role="query"),
        Embed("apple"),
        Embed("pear", role="document"),
    ]
    expected = bare.encode(["text: apple", "search: apple", "a apple", "text: pear"])
    np.testing.assert_allclose(np.stack(model.answer(asked)), expected, atol=1e-5)


def test_sentence_encoders_with_made_up_weights_are_refused(corpus, tmp_path):
    pytest.importorskip("sentence_transformers")
    folder = stock_models.masked(tmp_path / "bert", corpus)
    weights = load_file(folder / "model.safetensors")
    without = {k: v for k, v in weights.items() if "layer.1.output.dense" not in k}
    save_file(without, folder / "model.safetensors", metadata={"format": "pt"})
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # as `tgp` does
    try:
        with pytest.raises(ValueError, match=r"must be whole. Got none for .*layer.1.output.dense"):
            make(f"st:{folder}")
    finally:
        transformers_logging.set_verbosity(verbosity)


def test_the_digest_of_sentence_encoders_follows_their_tokenizer(corpus, tmp_path):
    pytest.importorskip("sentence_transformers")
    model = make(f"st:{stock_models.masked(tmp_path / 'bert', corpus)}")
    follows_the_tokenizer(model, lambda m: m.encoder.tokenizer)


def test_sentence_encoders_keep_their_settings(tokenizer, tmp_path):
    export.save(tmp_path / "words", language_model(tokenizer.vocabulary), tokenizer, {}, "")
    model = make(f"st:{tmp_path}/words")
    facts = model.facts()
    assert facts["context"] == 64
    model.encoder.max_seq_length = 8
    short = model.facts()
    assert short["digest"] != facts["digest"]
    assert short["weights"] == facts["weights"]
    change(tmp_path / "words" / "encoder", rms_norm_eps=0.1)
    other = make(f"st:{tmp_path}/words").facts()
    assert other["digest"] != facts["digest"]
    assert other["weights"] == facts["weights"]
