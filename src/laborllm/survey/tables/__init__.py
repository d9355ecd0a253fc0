"""A user's own tables, and text and job histories of others."""
