"""Multinomial logit and boosting: a history as features, a regression on them."""
