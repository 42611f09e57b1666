"""Pictures in and out, and their parts."""
