"""Models and trained weights that ship with the package; code reads them by name, as data."""
