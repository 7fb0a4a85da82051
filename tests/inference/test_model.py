"""The object that a user holds."""

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import dual_encoder, language_model, multimodal

from tgp_multimodal.inference import text, writing
from tgp_multimodal.inference.model import Model
from tgp_multimodal.inference.sampling import Sampling


@pytest.fixture(scope="module")
def model(tokenizer):
    network = multimodal(tokenizer.vocabulary, context=64)
    with torch.no_grad():  # else each token would be its own most probable successor
        network.text.embed_tokens.weight *= 0.03
    return Model(network, tokenizer, "digest")


def test_it_says_what_it_is(model):
    said = repr(model)
    assert said.startswith("Model(Multimodal: text 0.")
    assert f"{model.network.text.context} tokens of context; pictures of " in said
    assert said.endswith("; on cpu)")


def test_write(model, tokenizer):
    written = model.write("The river", max_tokens=10, temperature=0)
    prompt = writing.plain_prompt(tokenizer, "The river", 54)
    sampling = Sampling(max_tokens=10)
    assert written == writing.generate(model.network.text, tokenizer, [prompt], sampling)[0]
    assert model.write("The river", max_tokens=10) == model.write("The river", max_tokens=10)
    assert model.write("The river", max_tokens=10, seed=1) != model.write("The river", 10, seed=2)
    assert model.write("The river", 10, temperature=0, stop=None) == written
    stopped = model.write("The river", 10, temperature=0, stop=[written[2]])
    assert stopped == written[: written.index(written[2])]


def test_the_default_type_of_the_process_draws_nothing_else(model):
    written, drawn = model.write("The river", 10), model.draw("a dot", 2)[0]
    torch.set_default_dtype(torch.float64)
    try:
        assert model.write("The river", 10) == written
        found = model.draw("a dot", 2)[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(drawn)).max() <= 1


def test_fill_reads_both_sides(model):
    filled = model.fill("def f():", "return x", max_tokens=10, temperature=0)
    assert filled != model.fill("def f():", "pass", max_tokens=10, temperature=0)
    assert filled != model.write("def f():", max_tokens=10, temperature=0)


def test_samples_are_those_of_their_seeds(model):
    sampling = Sampling(8, 0.9, seed=4)
    for suffix in (None, "return x"):
        found = model.samples("def f():", suffix, 5, sampling)
        for i, text_i in enumerate(found):
            assert text_i == "".join(
                model.stream("def f():", suffix, sampling._replace(seed=4 + i))
            )
        assert len(set(found)) > 1
    with pytest.raises(ValueError, match=r"n must be at least 1\. Got 0 instead\."):
        model.samples("x", None, 0, sampling)
    with pytest.raises(ValueError, match="max_tokens must be"):
        model.stream("x", None, sampling._replace(max_tokens=-3))  # before a piece is asked for


def test_stop_at_dedent_ends_at_the_end_of_the_function(model):
    prompt = "def f():\n"
    free = [model.write(prompt, 30, 1.0, seed=i) for i in range(5)]
    bound = [model.write(prompt, 30, 1.0, seed=i, stop_at_dedent=True) for i in range(5)]
    assert bound == ["" if text_i.strip() and text_i[0] != " " else text_i for text_i in free]
    assert "" in bound


def test_draw(model):
    pictures = model.draw(["a circle", "a square"], steps=3)
    assert [type(p) for p in pictures] == [Image.Image, Image.Image]
    assert pictures[0].size == (16, 16)
    alone = np.asarray(model.draw("a square", steps=3, seed=1)[0]).astype(int)
    assert np.abs(alone - np.asarray(pictures[1])).max() <= 1
    assert model.draw("a square", steps=2, size=24)[0].size == (24, 24)
    assert model.draw("a square", steps=2, size=(8, 24))[0].size == (24, 8)
    own = model.draw(["a square", "a square"], steps=3, seed=[1, 7])
    assert np.abs(np.asarray(own[0]).astype(int) - alone).max() <= 1
    assert (np.asarray(own[0]) != np.asarray(own[1])).any()


def test_draw_over_a_picture(model):
    photo = model.draw("a circle", steps=2, size=(20, 40))[0]
    drawn = model.draw("a square", steps=3, image=photo, strength=0.3)[0]
    again = model.draw("a square", steps=3, image=np.asarray(photo), strength=0.3)[0]
    assert np.array_equal(np.asarray(drawn), np.asarray(again))
    kept = np.zeros((20, 40), np.uint8)
    kept[:10] = 255
    half = np.asarray(model.draw("a square", steps=3, size=(20, 40), image=photo, mask=kept)[0])
    assert np.array_equal(half[10:], np.asarray(photo)[10:])
    assert (half[:10] != np.asarray(photo)[:10]).any()
    truth = model.draw("a square", steps=3, size=(20, 40), image=photo, mask=kept > 0)[0]
    assert np.array_equal(np.asarray(truth), half)
    for name in ("image", "mask"):
        with pytest.raises(ValueError, match=rf"^{name} must be unsigned bytes .* Got float64 of"):
            model.draw("a square", **({"image": photo} | {name: kept / 255}))
    for setting in ({"strength": 0.3}, {"mask": photo}):
        with pytest.raises(ValueError, match=rf"image must be given with {next(iter(setting))}\."):
            model.draw("a square", **setting)


def test_embed_texts_and_pictures(model):
    assert model.embed(["a", "b", "c"]).shape == (3, 64)
    each = (model.network.text.depth + 1) * 64
    assert model.embed(["a", "b", "c"], layers=True).shape == (3, each)
    with pytest.raises(ValueError, match="layers must be False where items are pictures"):
        model.embed([Image.new("RGB", (16, 16))], layers=True)
    assert [len(model.embed([], layers=so).T) for so in (False, True)] == [64, each]
    pictures = model.draw(["a circle", "a square"], steps=2)
    vectors = model.embed(pictures)
    assert vectors.shape == (2, 5 * 120)  # means over a picture and its quarters of 2.5 x 48 units
    pixels = np.stack([np.asarray(p) for p in pictures])
    assert np.array_equal(model.embed(pixels), vectors)
    assert np.array_equal(model.embed(list(pixels)), vectors)
    assert np.array_equal(model.embed(np.array(["a", "b"])), model.embed(["a", "b"]))
    assert model.embed(pixels[:0]).shape == (0, vectors.shape[1])
    alone = Model(language_model(model.tokenizer.vocabulary), model.tokenizer, "digest")
    assert alone.embed([]).shape == (0, alone.embed(["a"]).shape[1])
    for one_item in ("one text", {"a": 1}, Image.new("RGB", (16, 16))):
        with pytest.raises(ValueError, match="items must be a list"):
            model.embed(one_item)
    for items, found in (
        (["a", float("nan")], r"float \(nan\)"),
        ([3, "a"], "int"),
        ([{}], "dict"),
    ):
        with pytest.raises(ValueError, match=f"must be texts or pictures. Got {found}.* among"):
            model.embed(items)


def test_a_picture_is_seen_as_its_camera_was_held(model):
    """Orientation 6: what is stored lies on its side, to be turned by 90 degrees."""
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.getexif()[0x0112] = 6
    assert np.array_equal(model.embed([stored]), model.embed([upright]))
    one, other = (model.draw("a dot", 2, image=p, strength=0.5)[0] for p in (stored, upright))
    assert np.array_equal(np.asarray(one), np.asarray(other))


def test_score_is_a_log_likelihood(model, tokenizer):
    query = text.Query("The river", " froze")
    found = model.score("The river", " froze")
    assert found == text.score(model.network.text, tokenizer, [query])[0].nats < 0


def test_search_finds_the_text_itself(model, corpus):
    for index in (0, 3, 11):
        (best, score), second, *_ = model.search(corpus[index], corpus, k=4)
        assert best == index
        assert score == pytest.approx(1, abs=1e-4)
        assert second[1] < 0.99
    assert len(model.search("x", corpus, k=3)) == 3
    assert len(model.search("x", corpus[:2], k=9)) == 2
    assert model.search(corpus[0], corpus[:1])[0] == (0, pytest.approx(1, abs=1e-4))
    with pytest.raises(ValueError, match=r"documents must hold at least one text\. Got none"):
        model.search("x", [])


def test_pictures_need_a_head(tokenizer):
    model = Model(language_model(tokenizer.vocabulary), tokenizer, "digest")
    for ask in (lambda: model.draw("x"), lambda: model.embed(np.zeros((1, 16, 16, 3), np.uint8))):
        with pytest.raises(
            ValueError, match=r"must have a diffusion head .* LanguageModel instead"
        ):
            ask()


def test_texts_and_pictures_are_compared_and_the_best_label_is_named(tokenizer):
    model = Model(dual_encoder(tokenizer.vocabulary), tokenizer, "digest")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
    texts = ["a red circle", "a blue square", "a red circle"]
    found = model.similarity(texts, pixels)
    assert found.shape == (3, 4)
    assert np.abs(found).max() <= 1 + 1e-6
    assert np.array_equal(found[0], found[2])
    np.testing.assert_allclose(found[:, :1], model.similarity(texts, pixels[:1]), atol=1e-6)
    opened = [Image.fromarray(p) for p in pixels]
    assert np.array_equal(model.similarity(texts, opened), found)
    labels = ["red circle", "blue square"]
    best = found[:2].argmax(axis=0)
    assert model.classify(pixels, labels, "a {}") == [labels[i] for i in best]
    assert model.similarity(texts, []).shape == (3, 0)
    with pytest.raises(
        ValueError, match=r"texts must be a list of texts. Got the text 'a' instead"
    ):
        model.similarity("a", pixels)
    with pytest.raises(ValueError, match=r"labels must be a list of names. Got \[\] instead"):
        model.classify(pixels, [])
    with pytest.raises(ValueError, match=r"template must have a place {} for the label. Got 'a'"):
        model.classify(pixels, labels, "a")
    with pytest.raises(
        ValueError, match=r"must be unsigned bytes .* Got float64 of shape \(2, 2\)"
    ):
        model.similarity(texts, [np.zeros((2, 2))])


def test_comparing_needs_a_tower(model):
    with pytest.raises(ValueError, match=r"must have an image tower .* Got a Multimodal without"):
        model.similarity(["x"], np.zeros((1, 16, 16, 3), np.uint8))


def test_seeds_of_any_kind_and_none_at_all(model):
    one, other = (model.draw("a dot", 2, seed=s)[0] for s in (np.int64(3), np.array([3])))
    assert np.array_equal(np.asarray(one), np.asarray(other))
    with pytest.raises(ValueError, match=r"seeds must be one for each of 1 prompts\. Got 0"):
        model.draw("a dot", 2, seed=[])


def test_one_thing_is_no_list_of_things(model):
    for shape in ((32, 48, 3), (32, 48, 1), (32, 48)):
        with pytest.raises(ValueError, match=r"an array of shape \(32, 48.*, one picture, instead"):
            model.embed(np.zeros(shape, np.uint8))
    assert model.embed(np.zeros((2, 32, 48, 3), np.uint8)).shape[0] == 2
    with pytest.raises(ValueError, match=r"documents must be a list of texts. Got the text 'abc'"):
        model.search("a", "abc")
    with pytest.raises(ValueError, match=r"k must be at least 1\. Got -1 instead"):
        model.search("a", ["abc"], k=-1)
    with pytest.raises(ValueError, match=r"size must be a side, or \(rows, columns\). Got 32.0"):
        model.draw("a", size=32.0)


def test_a_stop_string_may_stand_alone(model):
    whole = model.write("The river", 10, temperature=0)
    assert (
        model.write("The river", 10, temperature=0, stop=whole[2:4])
        == whole[: whole.index(whole[2:4])]
    )
    assert model.write("The river", 10, temperature=0, stop=f"{whole[2]}~~~") == whole


def test_what_is_not_read_is_warned_of(model, tokenizer):
    """The network reads 64 tokens."""
    long = "The river runs. " * 40
    many = len(tokenizer.encode(long))
    with pytest.warns(
        UserWarning, match=rf"prompt is too long .* first {many + 1 - 54:,} tokens are"
    ):
        model.write(long, max_tokens=10)
    with pytest.warns(UserWarning, match=r"prompt is too long .* tokens farthest from the gap are"):
        model.fill(long, "end", max_tokens=10)
    with pytest.warns(UserWarning, match=r"1 of 2 texts are longer than the context of 64 tokens"):
        model.embed(["a text", long])
    with pytest.warns(
        UserWarning, match=r"context is too long .* its first \d+ tokens are not read"
    ):
        model.score(long, "end")


def test_what_just_fits_is_not_warned_of(model, tokenizer):
    """The tests of this project fail on warnings."""
    ids = tokenizer.encode("The river runs. " * 40)

    def of_size(count):
        text = tokenizer.decode(ids[:count])
        assert len(tokenizer.encode(text)) == count
        return text

    model.write(of_size(53), max_tokens=10)
    model.embed([of_size(63)])
    model.score("", tokenizer.decode(ids))  # scored in windows, all of it
    end = tokenizer.decode(ids[63:64])
    model.score(of_size(63), end)
    with pytest.warns(
        UserWarning, match=r"context is too long for the network: its first token is n"
    ):
        model.score(of_size(64), tokenizer.decode(ids[64:65]))
