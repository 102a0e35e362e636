"""The site's database: studies, suggestions, readings."""
