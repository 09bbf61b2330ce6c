"""The layouts of performance tables: ours, and those that readers know from other software."""
