"""Vectors, pictures and what a server says of itself, asked by OpenAI's own client."""

import base64
import io
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image
from servers import NAME, serving, tiny_model


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tokenizer)


@pytest.fixture(scope="module")
def running(model):
    with serving(model) as found:
        yield found


def test_vectors(running, model):
    texts = ["The river", "", "東京"]
    for encoding in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        found = running.client.embeddings.create(model=NAME, input=texts, **encoding)
        vectors = [
            np.frombuffer(base64.b64decode(d.embedding), "<f4")
            if isinstance(d.embedding, str)
            else d.embedding
            for d in found.data
        ]
        np.testing.assert_allclose(vectors, model.embed(texts), atol=1e-6)
    assert found.usage.prompt_tokens == sum(map(len, model.tokenizer.encode_batch(texts, True)))
    ids = model.tokenizer.encode("The river")
    for given in (ids, "The river"):
        one = running.client.embeddings.create(model=NAME, input=given, dimensions=64)
        np.testing.assert_allclose(one.data[0].embedding, vectors[0], atol=1e-6)
    tokenizer, vectors = model.tokenizer, []
    for row in ([*ids], [tokenizer.bos, *ids], [tokenizer.bos, tokenizer.mask, *ids], ids[:-1]):
        found = running.client.embeddings.create(model=NAME, input=row)
        assert found.usage.prompt_tokens == len(row) + (row[0] != tokenizer.bos)
        vectors.append(np.array(found.data[0].embedding))
    assert (vectors[0] == vectors[1]).all()
    assert abs(vectors[0] - vectors[2]).max() > 1e-3


def test_pictures(running, model):
    settings = {"steps": 3, "seed": 4, "guidance": 2.0, "sampler": "euler"}
    found = running.client.images.generate(
        model=NAME, prompt="a dot", n=2, size="24x16", extra_body=settings
    )
    expected = model.draw(["a dot"] * 2, 3, 2.0, 4, (16, 24), "euler")
    for one, picture in zip(found.data, expected, strict=True):
        drawn = Image.open(io.BytesIO(base64.b64decode(one.b64_json)))
        assert drawn.size == (24, 16)
        assert np.array_equal(np.asarray(drawn), np.asarray(picture))
    usual = running.client.images.generate(model=NAME, prompt="x", response_format="b64_json")
    assert Image.open(io.BytesIO(base64.b64decode(usual.data[0].b64_json))).size == (16, 16)


@pytest.mark.parametrize(("guided", "usual"), [(False, 4.0), (True, 1.0)])
def test_guidance_in_the_weights_is_not_repeated(running, model, monkeypatch, guided, usual):
    monkeypatch.setattr(model, "guided", guided)
    extra = {"steps": 2, "seed": 4}
    found = running.client.images.generate(model=NAME, prompt="a dot", extra_body=extra)
    drawn = Image.open(io.BytesIO(base64.b64decode(found.data[0].b64_json)))
    assert np.array_equal(np.asarray(drawn), np.asarray(model.draw("a dot", 2, usual, 4)[0]))


def test_what_a_server_says_of_itself(running, model):
    (one,) = running.client.models.list().data
    assert one == running.client.models.retrieve(NAME)
    assert (one.id, one.max_model_len, one.digest) == (NAME, 96, model.digest)
    with urllib.request.urlopen(running.address.removesuffix("v1") + "health") as answer:
        assert json.load(answer) == {"status": "ok", "requests": 0}
