"""Likelihoods of models with random slopes."""
