"""Servers of contestants whose packages bring none: `python -m suite.servers.NAME` prints one line with its address."""
