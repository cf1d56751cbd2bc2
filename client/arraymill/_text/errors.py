"""What is wrong with a text that a person wrote."""

from __future__ import annotations


class InputError(Exception):
    """A file or an expression is wrong: one line that says what, where and what to do."""
