"""What a run is: its plan, its folder, its suites and sweeps."""
