"""What a trained network can be asked to do: score, write, fill, embed, draw."""
