"""What every test shares: how Hypothesis works here.

A machine that does other things beside must not fail a property: how long an example takes to make or to run is no property of ours.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("navarch", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("navarch")
