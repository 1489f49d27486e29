"""One test a rule or theorem: the pure protocols, played without keys, sockets or clocks."""
