"""Studies: one file each, as data, and no other file; what plans, runs and reports them lies in the folders below."""
