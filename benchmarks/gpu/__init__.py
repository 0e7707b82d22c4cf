"""What the first minutes with a card are for: `python -m benchmarks.gpu --minutes 9 --out FOLDER`."""
