"""Lightning: one training module for every mix of objectives, and what it needs around it."""
