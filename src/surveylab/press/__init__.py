"""The press: executes the chapters, verifies what is published and builds the book.

It imports neither torch nor the lab nor a method, so that it starts fast and runs where no torch is: what a
chapter needs is imported by the chapter's own kernel.
"""
