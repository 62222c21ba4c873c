"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Hypothesis takes a call of 200 ms for an error by itself; on a busy machine any call may take as long. Its examples are the
# same in every run: what fails here fails there, and what passed yesterday passes today.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
