"""The load tester behind `arraymill load`: many clients, one honest clock, a report that others can read.

The report's JSON is public (`docs/load-testing.md`); the modules are not.
"""
