"""What everything stands on: clips, coordinates, exact time, splines, metrics, errors, folders, devices."""
