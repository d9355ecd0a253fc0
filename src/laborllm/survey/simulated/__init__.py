"""A made-up labor market whose truth is known, also in the files of real surveys."""
