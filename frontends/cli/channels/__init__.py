"""Commands that open a channel to people: chat, Slack, the web page."""
