"""From what a user gives to a checked mixture."""
