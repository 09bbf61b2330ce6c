"""What the public calls are asked for: each option declared once, for Python and for the command line."""
