"""The site's database: studies, suggestions, readings and users. Rows do not leave this package, only values."""
