"""Language models of careers: load or make, show, fine-tune, embed, predict."""
