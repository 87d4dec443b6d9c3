"""Services as OCI artifacts: built from folders, kept in a local layout store, pulled and pushed."""
