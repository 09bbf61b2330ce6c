"""Factors as latent means of their items in a mixed model (Raudenbush, Rowan & Kang, 1991)."""
