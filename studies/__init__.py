"""Studies: one file each, as data; what plans, runs and reports them lies in the folders below."""
