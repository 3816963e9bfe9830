"""Tests of the operators: every one of them, on every backend, against a float64 textbook."""
