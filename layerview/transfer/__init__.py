"""Moving images between a source and the local storage area."""
