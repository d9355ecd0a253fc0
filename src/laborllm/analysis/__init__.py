"""What the probabilities are for: where gains come from, simulated careers, wages, decompositions."""
