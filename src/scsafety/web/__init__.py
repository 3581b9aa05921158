"""Pages that are served: labelling in the browser. At the edge; nobody but the command line imports this."""
