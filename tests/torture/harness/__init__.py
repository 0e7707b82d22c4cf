"""What the tests of faults are made of: faults, commands that are hit by them, and what must be left."""
