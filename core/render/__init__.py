"""How a diagnosis is shown: phrases, tables, Markdown, HTML, pictures."""
