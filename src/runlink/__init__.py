"""One record of every run, whichever engine ran it."""
