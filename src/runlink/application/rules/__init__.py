"""The link rules of the configuration, made ready to be asked. Pure: no store, no clock."""
