"""Who else is told how a training or a run goes: trackers, one file each."""
