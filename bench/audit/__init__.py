"""The audit: the rules that reviewers check, applied to a run and to the network behind it."""
