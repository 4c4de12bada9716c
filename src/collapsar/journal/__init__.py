"""What follows a finished generation: it is stored, profiled, checked by the alarm, shown and mirrored."""
