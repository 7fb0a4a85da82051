"""Networks in pure torch: the shared text transformer, the diffusion head, compositions."""
