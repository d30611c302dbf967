"""Playing episodes: jobs, workers, pools, players."""
