"""Executes chapters: is it fresh, what does it need, a kernel, several at a time, the published notebook."""
