"""Replace ``mmaction.models.localizers.drn`` where mmaction2's release lacks it."""
