"""Ways to use Consilience: the command line, and later issues' chats."""
