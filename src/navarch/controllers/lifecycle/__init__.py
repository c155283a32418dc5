"""How objects come to their end: garbage collection, emptied namespaces, finished pods and Jobs."""
