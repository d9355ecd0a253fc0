"""The PSID's files, and the careers of its reference persons and spouses."""
