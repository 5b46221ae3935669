"""The result table: every method trained, measured and compared on one data set by one command."""
