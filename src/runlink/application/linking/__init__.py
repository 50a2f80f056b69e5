"""Which Run an instance belongs to: rules, the links they make, the inbox of what they leave over."""
