"""The integers that decide about symbols."""
