"""Published lists of trials: data, no `if`."""
