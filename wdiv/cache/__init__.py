"""Results kept: measures and pairs beside the store they were made of, files of netCDF and zarr."""
