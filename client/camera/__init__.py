"""`duet-camera`: from a camera over a spool on disk to the service, and from there to whoever waits for the verdict."""
