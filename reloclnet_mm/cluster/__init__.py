"""An index in shards, built and searched on several computers with Ray."""
