"""One road from a card to a number with its uncertainty; scikit-learn and numpy, never torch."""
