"""Studies as data: Study, Condition, Claim, Table, Figure, their TOML and JSON, and the registry of studies."""
