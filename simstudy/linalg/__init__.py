"""Linear algebra of many small matrices at once: stacked on leading axes, or entry by entry on the last."""
