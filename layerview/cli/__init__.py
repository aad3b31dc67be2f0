"""The command line: one module per family of commands, each parses, calls and prints."""
