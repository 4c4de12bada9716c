"""What a finished generation leaves: the line of its record, and the settings that a chain is made of."""
