"""From rows to numbers and words: statistics, pairing, summaries, verdicts, tables."""
