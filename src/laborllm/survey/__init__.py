"""Raw survey files -> Careers."""
