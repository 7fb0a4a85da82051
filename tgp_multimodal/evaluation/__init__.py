"""One road from a card to a number with its uncertainty; numpy and scikit-learn only, never torch."""
