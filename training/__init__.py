"""How the built-in model is trained and measured; see README.md."""
