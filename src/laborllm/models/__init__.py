"""Careers -> Probabilities."""
