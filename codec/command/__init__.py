"""What the command does with files."""
