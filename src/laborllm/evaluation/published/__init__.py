"""Rates that others have published, beside those that models imply."""
