"""What was observed: cluster layouts, samples and sufficient statistics."""
