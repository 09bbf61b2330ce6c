"""Regressions on adjusted cluster means (Croon & van Veldhoven, 2007)."""
