"""Expectations: as written, checked, matched, and values captured."""
