"""Path diagrams of fits."""
