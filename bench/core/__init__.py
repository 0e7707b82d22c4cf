"""Threats, outcomes, numbers, names and seeds; never torch."""
