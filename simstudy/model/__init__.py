"""Model specification: text, parameters, matrices, implied moments. No data, no estimation."""
