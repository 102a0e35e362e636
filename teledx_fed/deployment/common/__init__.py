"""Code of both sites and server: settings, keys, certificates, plans, audit logs, monitoring."""
