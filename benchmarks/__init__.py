"""Every claim of speed, measured side by side: ``python -m benchmarks.race --help``."""
