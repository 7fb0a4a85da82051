"""What two views of one caption are when there is nothing to leave out."""

from types import SimpleNamespace

import numpy as np

from tgp_multimodal.data import picture_batches


def test_a_caption_of_one_id_keeps_it_in_both_views():
    split = SimpleNamespace(stream=np.zeros(1, int), streams=("s",), captions=[("seven",)])
    views = picture_batches._caption_views(split, "s", SimpleNamespace(encode=lambda text: [42]), 0)
    assert [views(number) for number in range(50)] == [[[42], [42]]] * 50
