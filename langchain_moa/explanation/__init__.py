"""What happened in a call, for people: as text, Markdown, HTML, a table of a terminal, a file."""
