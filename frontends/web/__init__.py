"""The web page and the JSON API under it: a door to the conversation of `consilience.frontends.chat`."""
