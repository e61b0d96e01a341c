"""The conversation about a diagnosis: an image or a question in, a reply out. It knows no Slack and no browser.

The terminal, Slack and the web page bring in what people say, and show the replies in their own way.
"""
