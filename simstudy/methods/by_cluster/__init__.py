"""Regressions in every cluster, then a model of their coefficients."""
