"""Why a Run is in the state it is in, now or as it was known at an earlier time."""
