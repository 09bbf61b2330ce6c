"""Tables and summaries to read: terminal text, LaTeX, HTML, Markdown."""
