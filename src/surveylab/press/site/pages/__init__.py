"""The pages, and parts of pages, that are generated from the evidence."""
