"""Who is predicted well, and for whom a model is right."""
