"""A run in somebody else's hands: exported as plain files, imported into another warehouse."""
