"""Many runs in one command: which, in what order, and one table of them."""
