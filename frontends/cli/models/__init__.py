"""Commands about models: encoders, prompts, kept replies, tuning, serving."""
