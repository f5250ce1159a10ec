"""How much it carries: open-loop load, every request recorded, goodput under an SLO."""
