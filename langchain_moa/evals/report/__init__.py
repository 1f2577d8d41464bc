"""Reports of runs: tables in Markdown, JSON and CSV, and pictures."""
