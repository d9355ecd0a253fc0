"""Numbers -> tables, figures, one page."""
