"""From a field to a file."""
