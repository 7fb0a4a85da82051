"""Task-agnostic generative pretraining: one text transformer, one text-to-image head, one benchmark harness."""

__version__ = "0.1.0"
