"""Published checkpoints: one folder each, exactly its Hub repository."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.hub_cards")
