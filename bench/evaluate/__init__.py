"""Attacking deployed defenses: oracle, referee, engine."""
