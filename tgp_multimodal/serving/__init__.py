"""A trained model behind HTTP, in the words of OpenAI's interface; alone imports FastAPI."""
