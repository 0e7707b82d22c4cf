"""Genuine files and words, what is done to them, and the readers that must bear it."""
