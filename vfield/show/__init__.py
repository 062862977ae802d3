"""What people look at: a page for a field, and what a run is told by."""
