"""The verbs of the command line, one file each; whatever is heavy is imported inside the verb."""
