"""Shifts: accuracy under common corruptions, and over a grid of rotations and translations."""
