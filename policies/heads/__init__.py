"""Action heads, one file each: the context in, a 16-step action chunk out."""
