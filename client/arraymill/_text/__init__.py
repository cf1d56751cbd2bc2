"""What people write as text, for the command line and the load tester: expressions of arrays, dtypes, quantities."""
