"""Wage equations and gaps between groups."""
