"""Duet's inference service."""
