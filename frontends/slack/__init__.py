"""Slack: how people there reach the conversation."""
