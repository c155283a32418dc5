"""Real kubectl against a real cluster. A package, so that its one cluster goes when the last of these tests is done."""
