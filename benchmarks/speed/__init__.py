"""How fast we are, as ratios to the libraries that people use; never imported by the package."""
