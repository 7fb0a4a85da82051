"""Lightning: one training module for every mix of objectives, its optimizer, data module and callbacks."""
