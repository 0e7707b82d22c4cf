"""One RunSpec to one Record: load or fit, deploy, attack, judge, store."""
