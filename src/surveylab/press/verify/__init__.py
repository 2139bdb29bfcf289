"""Checks what is published: recompute it, execute it again, compare claim by claim, report."""
