import torch
import torch.distributed

from tgp_multimodal.objectives import ranks


def test_alone_everything_stays_what_it_is():
    x = torch.randn(5, 2, requires_grad=True)
    assert (ranks.world(), ranks.rank()) == (1, 0)
    for same in (ranks.average, ranks.own_rows, ranks.whole_batch, ranks.agree):
        assert same(x) is x
    assert ranks.largest(7) == 7


def test_parts_average_to_the_whole_and_so_do_their_gradients(monkeypatch):
    """Two processes, played by the functions of the process group that they would call."""
    value_B = torch.tensor([[1.0], [2.0], [4.0], [7.0]])
    gradients = []
    for rank in (0, 1):
        own = value_B[rank::2].clone().requires_grad_()

        def gather(rows, x):
            for place, row in enumerate(rows):
                row.copy_(value_B[place::2])

        monkeypatch.setattr(ranks, "_is_open", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(torch.distributed, "all_gather", gather)
        whole = ranks.whole_batch(own)
        assert torch.equal(whole, value_B)
        assert torch.equal(ranks.own_rows(value_B), own)
        (whole.prod() / whole.sum()).backward()
        gradients.append(own.grad)
    alone = value_B.clone().requires_grad_()
    (alone.prod() / alone.sum()).backward()
    mean = torch.stack(gradients, dim=1).flatten(0, 1) / 2  # each has rows of its own
    torch.testing.assert_close(mean, alone.grad)
