"""Files on disk: artifacts written whole or not at all, content hashes, leases, stored embeddings."""
