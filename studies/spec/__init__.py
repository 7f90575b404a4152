"""Studies as data: Study, Condition, Claim, Table and Figure, their TOML and JSON, and the registry."""
