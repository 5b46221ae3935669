"""The endpoint: a Ray Serve application over one retriever and one index. Ray's own `serve` is `ray_serve` here."""
