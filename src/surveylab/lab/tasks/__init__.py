"""Tasks and measurements of single chapters: recurrent networks, style, influence, landscapes, least squares."""
