"""ALTO (RFC 7285 and its extensions): documents made and read, pure; the server around them is elsewhere."""
