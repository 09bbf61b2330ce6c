"""Monte Carlo studies of multilevel structural equation modelling (MSEM)."""

__version__ = "0.1.0"
