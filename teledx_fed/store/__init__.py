"""The site's database: studies, suggestions, readings, and who may see them. No row of it leaves this package."""
