"""The one write path: what any feed learnt about instances, read, judged and written."""
