"""Data generation from MSEM parameters."""
