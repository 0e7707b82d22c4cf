"""Diagnostics: what papers draw of a network, seen inside a deployed defense, clean and under attack."""
