"""Waiting and failing: timeouts, quorum, retries, breakers, limits."""
