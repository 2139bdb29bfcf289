"""Builds the book's site: evidence and claims become pages, Sphinx makes HTML of them."""
