"""How changes are multiplied with weights: in which precision, and with which kernel."""
