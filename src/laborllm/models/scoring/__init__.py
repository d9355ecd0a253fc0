"""Exact log-probabilities of titles under a causal language model."""
