"""Raw data in, deterministic batches out; numpy only, so that evaluation needs no torch."""
