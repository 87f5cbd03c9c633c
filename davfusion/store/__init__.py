"""Places that keep objects: the Store interface, its backends, and wrappers that are Stores themselves."""
