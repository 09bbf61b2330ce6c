"""Kinds of figure, one a file."""
