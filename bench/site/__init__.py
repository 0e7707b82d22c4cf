"""The page that people browse, made from records alone."""
