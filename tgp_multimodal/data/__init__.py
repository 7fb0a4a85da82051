"""Raw data in, deterministic batches out; numpy only, so that evaluation can read data without torch."""
