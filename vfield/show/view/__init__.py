"""A local page to look at a field: any instant, any part of the picture, beside the source."""
