"""Many files: manifests in, exactly one record per file out, on one machine or a cluster."""
