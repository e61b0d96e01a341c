"""The conversation about a diagnosis: an image or a question in, a reply out. It knows no Slack and no browser.

A door (the terminal, Slack, a web page) brings in what people say and shows the replies in its own way.
"""
