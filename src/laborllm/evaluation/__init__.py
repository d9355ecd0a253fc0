"""Probabilities -> numbers."""
