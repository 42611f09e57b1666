"""Pictures repaired and translated."""
