"""How the shipped weights were trained; the cards tell it."""

TRAINED: dict[str, str] = {}
