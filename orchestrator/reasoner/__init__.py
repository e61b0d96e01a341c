"""The language model that reads predictions, trust and evidence, never pixels."""
