"""Measures how well a model predicts a text, and how much of its own text is new."""
