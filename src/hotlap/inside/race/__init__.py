"""The swap of the optimizer under an unmodified script, and what a trial of the race watches."""
