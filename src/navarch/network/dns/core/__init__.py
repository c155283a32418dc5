"""The decisions of cluster DNS, pure: objects to records, query bytes to answer bytes."""
