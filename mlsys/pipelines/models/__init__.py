"""Models: one component, one file. Each fits a recipe and gives back data that can be stored as JSON."""
