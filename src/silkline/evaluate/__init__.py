"""Is it still right: data sets, metrics, resumable runs and paired comparison."""
