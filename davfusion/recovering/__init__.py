"""Brings a chunked share back from its store alone."""
