"""What builds on the library: guides under their documented path."""
