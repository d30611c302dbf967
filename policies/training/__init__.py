"""From demonstrations to a trained head: windows, features, the loop."""
