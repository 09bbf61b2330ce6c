"""What methods share: results, the optimiser, starting values, inference, fit measures."""
