"""Studies carried out: stages of a run folder, and everything that follows a run."""
