"""The executable survey: a literature review of deep learning that runs."""
