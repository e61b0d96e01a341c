"""The web page and the JSON API under it, on the conversation of `consilience.frontends.chat`."""
