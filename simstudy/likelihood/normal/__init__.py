"""Likelihoods of normal data with random intercepts, one distributional situation a file."""
