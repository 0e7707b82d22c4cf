"""Bounds on what a network answers within a radius: its steps, intervals, and linear relaxations."""
