"""`arraymill demo`: jobs on real data with a private server, every answer checked against NumPy."""
