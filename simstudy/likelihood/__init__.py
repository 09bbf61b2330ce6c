"""The maths of one distributional situation a file."""
