"""One test a promise that a file of `node` makes about itself."""
