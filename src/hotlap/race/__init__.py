"""The optimizer race: which rule, with which settings, brings a script to its target soonest."""
