"""Studies: every result that is no run, each a folder here and a row of `bench.studies.table`."""
