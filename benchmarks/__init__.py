"""The bench: suites, paired runs, certificates, comparisons and reports."""
