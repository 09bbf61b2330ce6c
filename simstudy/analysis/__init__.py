"""One real data set: fitting, inference, fit measures."""
