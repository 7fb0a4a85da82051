"""Pretraining objectives: each maps (network, batch, progress) to one loss with named parts."""
