"""The federation over a network: `site` runs at each hospital, `server` at the coordinator, `common` at both."""
