"""Vectors of the joint space: those that the objective compares, whatever the batch."""

import numpy as np
import torch
import torch.nn.functional as F
from random_networks import dual_encoder

from tgp_multimodal.data import images
from tgp_multimodal.inference.matching import picture_vectors, text_vectors
from tgp_multimodal.objectives.passage_contrast import mean_states


def pictures(*shapes):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


@torch.no_grad()
def test_the_vectors_are_those_that_training_compares(tokenizer):
    network, texts = dual_encoder(tokenizer.vocabulary), ["a red circle", "", "two blue squares"]
    rows = [tokenizer.encode(t, bos=True) for t in texts]
    means = [mean_states(network, torch.tensor([r]), torch.ones(1, len(r)).bool()) for r in rows]
    found = text_vectors(network.text, tokenizer, texts)
    np.testing.assert_allclose(found, F.normalize(torch.cat(means)).numpy(), atol=1e-5)
    seen = pictures((16, 16), (16, 16))
    pixels = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = F.normalize(network.tower(pixels)).numpy()
    np.testing.assert_allclose(picture_vectors(network.tower, seen), expected, atol=1e-5)


def test_a_picture_is_resized_as_training_pictures_are_and_its_batch_does_not_matter():
    tower = dual_encoder().tower
    seen = pictures((16, 16), (40, 30), (8, 8), (16, 32), (33, 33))
    together = picture_vectors(tower, seen)
    np.testing.assert_allclose(picture_vectors(tower, seen, batch=2), together, atol=1e-5)
    resized = [images.resized(p, 16) for p in seen]
    np.testing.assert_allclose(picture_vectors(tower, resized), together, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert picture_vectors(tower, []).shape == (0, 64)
