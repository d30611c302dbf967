"""One page with everything a person wants to look at."""
