"""What becomes of a Run by what its instances say: the table of roll-up, and its application."""
