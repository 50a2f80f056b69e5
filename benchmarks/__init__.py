"""What runlink costs, measured against the simplest things that could do the same work. Run by `make bench`."""
