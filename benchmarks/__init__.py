"""Measurements and checks that are no part of the suite."""
