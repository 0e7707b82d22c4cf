"""Engines: where workers come from, one small adapter each, chosen by `--on`."""
