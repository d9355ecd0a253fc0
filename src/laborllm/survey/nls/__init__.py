"""Extracts of the NLS Investigator: files, codebooks, and the careers of the NLSY79 and the NLSY97."""
