"""What happens to a finished generation: it is stored, profiled, watched, shown and mirrored."""
