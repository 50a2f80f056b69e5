"""What the product is compared with: each file one other way to do the same work."""
