"""Careers drawn forward, and under other circumstances."""
