"""Profile likelihoods of regressions with random intercepts or coefficients."""
