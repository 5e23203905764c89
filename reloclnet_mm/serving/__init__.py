"""The page on which an index of own videos is searched, and its JSON interface."""
