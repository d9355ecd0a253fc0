"""Where gains come from: careers altered one thing at a time."""
