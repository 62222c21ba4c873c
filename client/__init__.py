"""Duet's client package: Python SDK and camera client, without torch or FastAPI."""
