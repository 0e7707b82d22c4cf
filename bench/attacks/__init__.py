"""Attacks: frozen parameters, called with an oracle."""
