"""Two processes in one, in turn: each is told what the other one would have sent."""

import torch
import torch.distributed

from tgp_multimodal.objectives import ranks


def of_two(objective, network, halves, monkeypatch):
    """The losses of two processes, and the mean of their gradients by name.

    Args:
        halves: the batch of each: rows 0, 2, 4, ... and rows 1, 3, 5, ... of the global one.
    """
    sent = [[], []]
    monkeypatch.setattr(ranks, "_is_open", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    longest = max(half.token_BL.shape[1] for half in halves)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, operation: x.fill_(longest))
    total = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    values = []
    for listen in (True, False):
        for rank in (0, 1):
            turn = iter(sent[1 - rank])

            def gather(rows, x, rank=rank, turn=turn, listen=listen):
                if listen:
                    sent[rank].append(x.clone())
                rows[1 - rank].copy_(x if listen else next(turn))

            monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
            monkeypatch.setattr(torch.distributed, "all_gather", gather)
            network.zero_grad()
            part = objective.loss(network, halves[rank], 0.0, 0)
            if not listen:
                part.value.backward()
                values.append(part.value.detach())
                for name, p in network.named_parameters():
                    if p.grad is not None:
                        total[name] += p.grad / 2
    return values, total
