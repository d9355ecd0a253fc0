"""Careers -> text -> tokens."""
