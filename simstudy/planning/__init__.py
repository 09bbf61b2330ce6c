"""The smallest design that reaches a target: analytic first, then a simulation search, then a confirming run."""
