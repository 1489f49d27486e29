"""One general: all that ships in a general's container."""
