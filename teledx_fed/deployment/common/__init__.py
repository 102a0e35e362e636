"""What both sides of the network use: settings, keys, certificates, plans, audit logs, monitoring."""
