"""What limits what a namespace may hold."""
