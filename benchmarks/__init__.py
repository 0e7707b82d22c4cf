"""What the harness costs, as ratios measured in one process; see README.md beside this file."""
