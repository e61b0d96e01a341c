"""Ways to use Consilience: the command line, conversations, Slack and the web."""
