"""The path between noise and data, and the samplers that walk it."""
